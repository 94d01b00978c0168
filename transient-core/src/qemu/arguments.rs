//! QEMU's command line.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use transient_guest::protocol::{CONTROL_PORT, DATA_PORT};

use super::block;

/// What runs the guest's instructions, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerated {
    Kvm,
    Tcg,
}

impl Accelerated {
    /// The name, as QEMU has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Under TCG: no more than what ring's fast paths do not key on, for emulated SIMD is slower than plain code;
    /// but RDRAND, or else the guest's random number generator never gets its seed.
    fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "qemu64,+rdrand",
        }
    }
}

/// Everything that a machine is started with.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) program: PathBuf,
    pub(crate) accelerated: Accelerated,
    /// In bytes.
    pub(crate) memory: u64,
    pub(crate) cpus: u32,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Without it, there is a device that does nothing in its place.
    pub(crate) disk: Option<Disk>,
    pub(crate) network: bool,
    /// Whether it only gets what others leave of the host's processors.
    pub(crate) background: bool,
}

/// What a machine has in its memory when it starts.
#[derive(Debug)]
pub(crate) enum Memory {
    /// Nothing.
    Empty,
    /// Nothing, and the memory is this file.
    File(File),
    /// What a machine that was saved had in this file, which is not written to.
    Saved(File),
}

impl Memory {
    pub(crate) fn into_file(self) -> Option<File> {
        match self {
            Self::Empty => None,
            Self::File(file) | Self::Saved(file) => Some(file),
        }
    }
}

/// The machine's one disk: a qcow2 file.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// The qcow2 files that it stands on, the lowest first, whatever the files themselves name.
    pub(crate) below: Vec<PathBuf>,
    /// Whether the file must be whole after a crash: what the guest flushes is then on the host's disk.
    pub(crate) durable: bool,
}

/// The file descriptors that QEMU inherits.
pub(crate) const QMP_FD: i32 = 3;
pub(crate) const CONTROL_FD: i32 = 4;
pub(crate) const DATA_FD: i32 = 5;
pub(crate) const CONSOLE_FD: i32 = 6;
/// What the guest sends, on its way to the gate, and what the gate lets go on.
pub(crate) const GUEST_FRAMES_FD: i32 = 7;
pub(crate) const PASSED_FRAMES_FD: i32 = 8;
pub(crate) const MEMORY_FD: i32 = 9;

/// Everything that a builder can do without is denied (QEMU's man page, `-sandbox`).
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Not microvm, though it boots a little faster: with QEMU 7.2 its timer interrupts are lost in one boot of two.
const MACHINE: &str = "q35,sata=off,smbus=off,vmport=off,i8042=off,usb=off,hpet=off";

/// `reboot=t` and `panic=-1`: a guest that ends or panics resets at once, which with `-no-reboot` ends QEMU.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable no_timer_check \
    random.trust_cpu=on cryptomgr.notests init_on_alloc=0";

/// The guest starts its other processors itself, when it has set up its devices. QEMU before 8.2 lets an emulated
/// processor go to a wrong device while another one moves devices about, at which the guest hangs or QEMU crashes in
/// one boot of some hundreds (QEMU's commit 0d58c660689f, "softmmu: Use async_run_on_cpu in tcg_commit").
const OTHER_PROCESSORS_LATER: &str = " maxcpus=1";

/// QEMU before 8.1 keeps translated code by its virtual address: with random addresses, each process has all of its code
/// translated anew, which takes longer than most processes do, and much memory of the host.
const FIXED_ADDRESSES: &str = " norandmaps";

impl Configuration {
    /// Returns the arguments, the program's name not included.
    pub(crate) fn arguments(&self, memory: &Memory) -> Vec<OsString> {
        let mut arguments = Arguments(Vec::new());
        arguments.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        arguments.option("-sandbox", SANDBOX);
        arguments.option("-display", "none");
        arguments.memory(memory, self.memory);
        arguments.option("-accel", self.accelerated.name());
        arguments.option("-cpu", self.accelerated.cpu());
        arguments.option("-smp", self.cpus.to_string());
        arguments.option("-kernel", &self.kernel);
        arguments.option("-initrd", &self.initramfs);
        let emulated = match self.accelerated {
            Accelerated::Tcg => [OTHER_PROCESSORS_LATER, FIXED_ADDRESSES].concat(),
            Accelerated::Kvm => String::new(),
        };
        arguments.option("-append", format!("{KERNEL_ARGUMENTS}{emulated}"));

        arguments.option("-chardev", format!("socket,id=qmp,fd={QMP_FD}"));
        arguments.option("-mon", "chardev=qmp,mode=control");
        arguments.option("-chardev", format!("socket,id=console,fd={CONSOLE_FD}"));
        arguments.option("-serial", "chardev:console");
        arguments.option("-device", "virtio-serial-pci");
        for (id, fd, name) in [("control", CONTROL_FD, CONTROL_PORT), ("data", DATA_FD, DATA_PORT)] {
            arguments.option("-chardev", format!("socket,id={id},fd={fd}"));
            arguments.option("-device", format!("virtserialport,chardev={id},name={name}"));
        }

        arguments.option("-blockdev", self.disk.as_ref().map_or_else(no_disk, Disk::node));
        arguments.option("-device", "virtio-blk-pci,drive=disk0");
        if self.network {
            arguments.network();
        }
        arguments.0
    }
}

/// Returns what QEMU calls the disk's file after so many snapshots.
pub(crate) fn node_name(snapshots: usize) -> String {
    format!("disk{snapshots}")
}

fn no_disk() -> String {
    block::nothing(&node_name(0)).to_string()
}

impl Disk {
    /// The block node, as JSON, in which a path may hold any character.
    fn node(&self) -> String {
        let mut node = block::writable(&self.path, &node_name(0), self.durable);
        if let Some(below) = block::chain(&self.below) {
            node["backing"] = below;
        }
        node.to_string()
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn flags(&mut self, names: &[&str]) {
        self.0.extend(names.iter().map(OsString::from));
    }

    /// The machine and its memory, whose size is in bytes. What a saved machine goes on from comes over QMP.
    fn memory(&mut self, memory: &Memory, size: u64) {
        let mebibytes = size >> 20;
        self.option("-m", format!("{mebibytes}M"));
        let share = match memory {
            Memory::Empty => return self.option("-machine", MACHINE),
            Memory::File(_) => "on",
            Memory::Saved(_) => "off",
        };
        self.option("-machine", format!("{MACHINE},memory-backend=memory"));
        let file =
            format!("memory-backend-file,id=memory,size={mebibytes}M,mem-path=/proc/self/fd/{MEMORY_FD}");
        self.option("-object", format!("{file},share={share}"));
        if let Memory::Saved(_) = memory {
            self.option("-incoming", "defer");
        }
    }

    /// A card on QEMU's user network, with the gate between them: `rx` is what that network receives.
    fn network(&mut self) {
        self.option("-netdev", "user,id=net,ipv6=off");
        self.option("-device", "virtio-net-pci,netdev=net,romfile=");
        for (id, fd) in [("sent", GUEST_FRAMES_FD), ("passed", PASSED_FRAMES_FD)] {
            self.option("-chardev", format!("socket,id={id},fd={fd}"));
        }
        self.option("-object", "filter-redirector,id=gate,netdev=net,queue=rx,outdev=sent,indev=passed");
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(accelerated: Accelerated, network: bool, memory: &Memory) -> String {
        let configuration = Configuration {
            program: "qemu-system-x86_64".into(),
            accelerated,
            memory: 2 << 30,
            cpus: 2,
            kernel: "/appliance/kernel".into(),
            initramfs: "/appliance/initramfs".into(),
            disk: Some(Disk {
                path: "/store/a,b\"c/disk.qcow2".into(),
                below: vec!["/base".into(), "/layer".into()],
                durable: false,
            }),
            network,
            background: false,
        };
        let words: Vec<_> = configuration
            .arguments(memory)
            .into_iter()
            .map(|word| word.into_string().expect("text"))
            .collect();
        words.join("\n")
    }

    #[test]
    fn the_command_line_has_nothing_but_what_a_builder_needs() {
        insta::assert_snapshot!(configuration(Accelerated::Tcg, true, &Memory::Empty));
        insta::assert_snapshot!(configuration(Accelerated::Kvm, false, &Memory::Empty));
    }

    #[test]
    fn a_saved_builder_is_restored_into_the_same_machine() {
        let file = || tempfile::tempfile().expect("a file");
        insta::assert_snapshot!(configuration(Accelerated::Tcg, false, &Memory::File(file())));
        insta::assert_snapshot!(configuration(Accelerated::Tcg, false, &Memory::Saved(file())));
    }
}
