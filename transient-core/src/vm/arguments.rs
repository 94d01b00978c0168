//! QEMU's command line for a VM of a user.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::VmConfig;
use super::disk::VmDisk;

/// The file descriptors that QEMU inherits: a monitor for us and one for the user's commands, the serial console, and
/// what tells release 0.25 of this VM.
pub(super) const MONITOR_FD: i32 = 3;
pub(super) const COMMANDS_FD: i32 = 4;
pub(super) const CONSOLE_FD: i32 = 5;
pub(super) const ABOUT_FD: i32 = 6;

/// What a VM has for disks.
#[derive(Debug)]
pub(super) enum Drives {
    /// Images, which are not written to: what is written is lost at the end.
    Images(Vec<PathBuf>),
    /// Disks of its own.
    Own(Vec<VmDisk>),
}

/// Whether the user brings a serial port along; then there is none of ours.
pub(super) fn brings_serial(config: &VmConfig) -> bool {
    config.qemu_args.iter().any(|word| matches!(word.as_str(), "-serial" | "--serial"))
}

/// Returns the arguments, the program's name not included. Those of the user come last, so that they win.
pub(super) fn arguments(name: &str, config: &VmConfig, drives: &Drives) -> Vec<OsString> {
    let mut arguments = Arguments(Vec::new());
    arguments.option("-name", format!("guest={}", escaped(name)));
    arguments.option("-display", "none");
    for (id, fd) in [("transient-monitor", MONITOR_FD), ("transient-commands", COMMANDS_FD)] {
        arguments.option("-chardev", format!("socket,id={id},fd={fd}"));
        arguments.option("-mon", format!("chardev={id},mode=control"));
    }
    if !brings_serial(config) {
        // As with `-nographic`: Ctrl-A c switches to QEMU's own prompt, Ctrl-A x ends it.
        arguments.option("-chardev", format!("socket,id=transient-console,fd={CONSOLE_FD},mux=on"));
        arguments.option("-serial", "chardev:transient-console");
        arguments.option("-mon", "chardev=transient-console,mode=readline");
    }
    arguments.drives(drives, config.no_virtio_scsi);
    if !config.no_virtio_scsi {
        // Without it, an emulated guest may wait long for its first random number.
        arguments.option("-device", "virtio-rng-pci");
    }
    if config.has_ssh() {
        arguments.ssh(config);
    }
    arguments.0.extend(config.all_qemu_args().into_iter().map(OsString::from));
    arguments.0
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn drives(&mut self, drives: &Drives, ide: bool) {
        let drives: Vec<OsString> = match drives {
            Drives::Images(images) => {
                self.0.push("-snapshot".into());
                images.iter().map(|image| drive(&[("file", image)])).collect()
            }
            Drives::Own(disks) => disks
                .iter()
                .map(|disk| {
                    let mut drive = drive(&[("file", &disk.path), ("backing.file.filename", &disk.backing)]);
                    drive.push(",backing.driver=qcow2,backing.file.driver=file");
                    drive
                })
                .collect(),
        };
        if ide {
            drives.into_iter().for_each(|drive| self.option("-drive", drive));
            return;
        }
        self.option("-device", "virtio-scsi-pci,id=scsi");
        for (number, mut drive) in drives.into_iter().enumerate() {
            drive.push(format!(",if=none,id=hd{number}"));
            self.option("-drive", drive);
            self.option("-device", format!("scsi-hd,drive=hd{number},bootindex={number}"));
        }
    }

    /// A card on QEMU's user network; a port of this host's loopback leads to the guest's port 22.
    fn ssh(&mut self, config: &VmConfig) {
        let port = config.ssh_port.unwrap_or(0);
        self.option("-netdev", format!("user,id=transient-sshdev,hostfwd=tcp:127.0.0.1:{port}-:22"));
        let driver = config.net_driver();
        // Nothing is booted from the network: its boot program would only take time.
        let without_rom = if driver == "virtio-net-pci" { ",romfile=" } else { "" };
        self.option("-device", format!("{driver},netdev=transient-sshdev{without_rom}"));
    }
}

/// A drive of qcow2 files, whatever they say of themselves.
fn drive(files: &[(&str, &Path)]) -> OsString {
    let mut drive = OsString::from("format=qcow2,discard=unmap");
    for (option, path) in files {
        drive.push(format!(",{option}="));
        drive.push(escaped_path(path));
    }
    drive
}

/// In QEMU's options, a comma that belongs to a value is doubled.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

fn escaped_path(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, config: &VmConfig, drives: &Drives) -> String {
        let words = arguments(name, config, drives).into_iter().map(|word| word.into_string().expect("text"));
        words.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_vm_that_keeps_nothing_has_its_image_and_a_console() {
        let mut config = VmConfig::new("x");
        config.qemu_args = ["-m", "1G", "-append", "a,b  c"].map(String::from).into();
        insta::assert_snapshot!(lines("a,b", &config, &Drives::Images(vec!["/backend/x,y".into()])));
    }

    #[test]
    fn ssh_is_forwarded_from_the_loopback_alone() {
        let mut config = VmConfig::new("x");
        config.ssh = true;
        config.ssh_net_driver = Some("e1000".to_owned());
        config.no_virtio_scsi = true;
        let arguments = lines("x", &config, &Drives::Images(vec!["/backend/x".into()]));
        insta::assert_snapshot!(arguments);
        config.ssh_port = Some(2222);
        assert!(
            lines("x", &config, &Drives::Images(Vec::new())).contains("hostfwd=tcp:127.0.0.1:2222-:22\n")
        );
    }

    #[test]
    fn a_serial_port_of_the_user_takes_the_place_of_ours() {
        let mut config = VmConfig::new("x");
        config.qemu_args = ["-serial", "file:log"].map(String::from).into();
        assert!(!lines("x", &config, &Drives::Images(Vec::new())).contains("transient-console"));
    }
}
