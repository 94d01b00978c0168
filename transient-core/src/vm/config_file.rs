//! Configuration files: TOML with the flags' names as keys, `-` and `_` alike. A VM of the VM store has one, which
//! release 0.25 reads and writes too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{FileCopy, VmConfig};
use crate::{Error, ErrorKind, ImageName};

/// What a configuration file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The VM.
    pub vm: VmConfig,
    /// What is copied into its disk before it starts.
    pub copy_in_before: Vec<FileCopy>,
    /// What is copied out of its disk when it has ended.
    pub copy_out_after: Vec<FileCopy>,
    /// How long each of these may take.
    pub copy_timeout: Option<Duration>,
    /// The backend.
    pub image_backend: Option<PathBuf>,
    /// The VM store.
    pub vmstore: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`], which names all that is wrong with their lines; [`ErrorKind::Io`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::io(format!("cannot read '{}'", path.display()), error))?;
        Self::parse(&text).map_err(|reasons| {
            let reasons = reasons.iter().map(|reason| format!("\n  {reason}")).collect::<String>();
            let message = format!("Invalid configuration file '{}'{reasons}", path.display());
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line(span.start));
            vec![format!("[line {line}]: {}", error.message().replace('\n', ", "))]
        })?;
        let mut file = Self::default();
        let mut reasons = Vec::new();
        for (key, value) in table.into_inner() {
            let option = key.get_ref().replace('_', "-");
            if let Err(reason) = file.set(&option, &value) {
                reasons.push((line(key.span().start), format!("{option}: {reason}")));
            }
        }
        reasons.sort();
        let reasons: Vec<_> =
            reasons.into_iter().map(|(line, reason)| format!("[line {line}]: {reason}")).collect();
        if reasons.is_empty() { Ok(file) } else { Err(reasons) }
    }

    fn set(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let value = value.get_ref();
        let vm = &mut self.vm;
        match option {
            "image" => vm.image = text(value)?,
            "name" => vm.name = Some(ImageName::new(text(value)?).map_err(|error| error.to_string())?),
            "extra-image" => vm.extra_images = texts(value)?,
            "ssh-console" | "ssh" => vm.ssh = truth(value)?,
            "ssh-command" | "cmd" => vm.ssh_command = Some(text(value)?),
            "ssh-with-serial" | "sshs" => vm.ssh_with_serial = truth(value)?,
            "ssh-user" => vm.ssh_user = Some(text(value)?),
            "ssh-key" => vm.ssh_key = Some(text(value)?.into()),
            // Release 0.25 always writes its default.
            "ssh-bin-name" => {
                vm.ssh_program = Some(text(value)?).filter(|name| name != "ssh").map(PathBuf::from);
            }
            "ssh-option" => vm.ssh_options = texts(value)?,
            "ssh-port" => {
                vm.ssh_port = Some(u16::try_from(number(value)?).map_err(|_| "no port has this number")?);
            }
            "ssh-net-driver" => vm.ssh_net_driver = Some(text(value)?),
            "ssh-timeout" => vm.ssh_timeout = Some(seconds(value)?),
            "shared-folder" => vm.shared_folders = parsed(value, |text| text.parse())?,
            "no-virtio-scsi" => vm.no_virtio_scsi = truth(value)?,
            "shutdown-timeout" => vm.shutdown_timeout = Some(seconds(value)?),
            "qmp-timeout" => vm.qmp_timeout = Some(seconds(value)?),
            "qemu-bin-name" => vm.qemu = Some(text(value)?.into()),
            "qemu-args" => vm.qemu_args = texts(value)?,
            "copy-in-before" => self.copy_in_before = parsed(value, FileCopy::into_vm)?,
            "copy-out-after" => self.copy_out_after = parsed(value, FileCopy::out_of_vm)?,
            "copy-timeout" => self.copy_timeout = Some(seconds(value)?),
            "image-backend" => self.image_backend = Some(text(value)?.into()),
            "vmstore" => self.vmstore = Some(text(value)?.into()),
            // They chose programs of release 0.25, whose work the library does itself.
            "rsync" => drop(truth(value)?),
            "sftp-bin-name" => drop(text(value)?),
            _ => return Err("unknown option".to_owned()),
        }
        Ok(())
    }
}

/// Returns the file that the VM store keeps of a VM, with keys that release 0.25 knows as long as they suffice.
pub(super) fn render(config: &VmConfig, backend: &Path, vmstore: &Path) -> String {
    let mut table = Table::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            table.insert(key.to_owned(), value);
        }
    };
    let path = |path: &Path| Some(Value::from(path.to_string_lossy().into_owned()));
    let list = |texts: Vec<String>| {
        Some(Value::from(texts)).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    };
    let flag = |flag: bool| flag.then_some(Value::from(true));
    let time = |time: Option<Duration>| {
        time.map(|time| match i64::try_from(time.as_secs()) {
            Ok(whole) if time.subsec_nanos() == 0 => Value::from(whole),
            _ => Value::from(time.as_secs_f64()),
        })
    };
    set("image", Some(config.image.clone().into()));
    set("name", config.name.as_ref().map(|name| name.as_str().into()));
    set("extra_image", list(config.extra_images.clone()));
    set("ssh_console", flag(config.ssh));
    set("ssh_command", config.ssh_command.clone().map(Value::from));
    set("ssh_with_serial", flag(config.ssh_with_serial));
    set("ssh_user", config.ssh_user.clone().map(Value::from));
    set("ssh_key", config.ssh_key.as_deref().and_then(path));
    set("ssh_bin_name", config.ssh_program.as_deref().and_then(path));
    set("ssh_option", list(config.ssh_options.clone()));
    set("ssh_port", config.ssh_port.map(|port| i64::from(port).into()));
    set("ssh_net_driver", config.ssh_net_driver.clone().map(Value::from));
    set("ssh_timeout", time(config.ssh_timeout));
    set("shared_folder", list(config.shared_folders.iter().map(ToString::to_string).collect()));
    set("no_virtio_scsi", flag(config.no_virtio_scsi));
    set("shutdown_timeout", time(config.shutdown_timeout));
    set("qmp_timeout", time(config.qmp_timeout));
    set("qemu_bin_name", config.qemu.as_deref().and_then(path));
    set("qemu_args", list(config.all_qemu_args()));
    set("image_backend", path(backend));
    set("vmstore", path(vmstore));
    table.to_string()
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "expected a text in quotes".to_owned())
}

fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "expected true or false".to_owned())
}

fn number(value: &DeValue<'_>) -> Result<i64, String> {
    let number =
        value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    number.ok_or_else(|| "expected a number".to_owned())
}

fn seconds(value: &DeValue<'_>) -> Result<Duration, String> {
    let seconds = match value.as_float() {
        Some(float) => float.as_str().parse().ok(),
        None => number(value).ok().map(|number| number as f64),
    };
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "expected a number of seconds".to_owned())
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let list = value.as_array().and_then(|list| {
        list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    list.ok_or_else(|| "expected a list of texts, for example [\"a\", \"b\"]".to_owned())
}

fn parsed<T>(value: &DeValue<'_>, parse: impl Fn(&str) -> Result<T, Error>) -> Result<Vec<T>, String> {
    texts(value)?.iter().map(|text| parse(text).map_err(|error| error.report())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_release_0_25_writes_is_read() {
        let text = "extra_image = []\nimage = \"tiny,file=disk.qcow2\"\nimage_backend = \"/b\"\nname = \"vm-1\"\n\
            qemu_args = [ \"-m\", \"1G\", \"-nographic\",]\nqemu_bin_name = \"qemu-system-x86_64\"\n\
            qmp_timeout = 10\nsftp_bin_name = \"sftp-server\"\nshared_folder = [ \"/a:/b\",]\n\
            shutdown_timeout = 20\nssh_bin_name = \"ssh\"\nssh_console = true\n\
            ssh_net_driver = \"virtio-net-pci\"\nssh_option = []\nssh_timeout = 90\nssh_user = \"vagrant\"\n\
            vmstore = \"/v\"\n";
        let file = ConfigFile::parse(text).expect("valid");
        assert_eq!(file.vm.image, "tiny,file=disk.qcow2");
        assert_eq!(file.vm.qemu_args, ["-m", "1G", "-nographic"]);
        assert!(file.vm.ssh && file.vm.ssh_options().openssh().is_none());
        assert_eq!(file.vm.qmp_timeout, Some(Duration::from_secs(10)));
        assert_eq!(file.vm.shared_folders[0].guest, "/b");
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let text = "image = 3\n\nssh-console = \"yes\"\nno-such = 1\nssh-port = 99999\n";
        let reasons = ConfigFile::parse(text).expect_err("wrong");
        assert_eq!(
            reasons,
            [
                "[line 1]: image: expected a text in quotes",
                "[line 3]: ssh-console: expected true or false",
                "[line 4]: no-such: unknown option",
                "[line 5]: ssh-port: no port has this number",
            ]
        );
        let reasons = ConfigFile::parse("image = \"a\"\nname = \n").expect_err("no TOML");
        assert!(reasons[0].starts_with("[line 2]: "), "{reasons:?}");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,200}") {
            let _ = ConfigFile::parse(&text);
        }

        #[test]
        fn what_is_kept_is_what_was_given(
            image in ".{1,20}", name in "[^\0]{1,20}", command in proptest::option::of(".{0,30}"),
            user in proptest::option::of(".{1,10}"), args in proptest::collection::vec(".{0,10}", 0..4),
            ssh in any::<bool>(), millis in proptest::option::of(0_u32..100_000),
        ) {
            let Ok(name) = ImageName::new(name) else { return Ok(()) };
            let config = VmConfig {
                image, name: Some(name), ssh_command: command, ssh_user: user, qemu_args: args, ssh,
                ssh_timeout: millis.map(|millis| Duration::from_millis(u64::from(millis) * 250)),
                ..VmConfig::default()
            };
            let text = render(&config, Path::new("/b"), Path::new("/v"));
            let read = ConfigFile::parse(&text).expect("our own");
            prop_assert_eq!(read.vm, config);
            prop_assert_eq!(read.vmstore, Some(PathBuf::from("/v")));
        }
    }
}
