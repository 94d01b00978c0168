//! What a VM is made of: the settings that `create` takes and the VM store keeps.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, ErrorKind, ImageName};

/// The user that logs in, unless another is named.
const SSH_USER: &str = "vagrant";
const SSH_NET_DRIVER: &str = "virtio-net-pci";
const SSH_TIMEOUT: Duration = Duration::from_secs(90);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);
const QMP_TIMEOUT: Duration = Duration::from_secs(10);
const QEMU: &str = "qemu-system-x86_64";

/// The settings of a VM. `None` is the default, which a later setting may replace.
///
/// ```
/// use transient_core::VmConfig;
///
/// let mut config = VmConfig::new("debian/12");
/// config.ssh = true;
/// config.memory = Some(1 << 30);
/// config.qemu_args = ["-cpu".into(), "max".into()].into();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmConfig {
    /// The image to start from: an image spec, `NAME` or `NAME,PROTO=SOURCE`.
    pub image: String,
    /// The VM's name, by the rules for names of images.
    pub name: Option<ImageName>,
    /// Image specs of more disks.
    pub extra_images: Vec<String>,
    /// Whether the guest is reached by SSH: it then has a network card, and a port of this host's loopback leads to its
    /// port 22.
    pub ssh: bool,
    /// What SSH runs in place of a shell.
    pub ssh_command: Option<String>,
    /// Whether the serial console is shown until SSH is connected. It implies [`VmConfig::ssh`].
    pub ssh_with_serial: bool,
    /// Who logs in; `None` is `vagrant`.
    pub ssh_user: Option<String>,
    /// The private key to log in with. `None`: the user's agent and default keys, then the well-known key of vagrant
    /// boxes.
    pub ssh_key: Option<PathBuf>,
    /// The SSH program that is used in place of the library's own client.
    pub ssh_program: Option<PathBuf>,
    /// Options for `-o` of OpenSSH, which is used in place of the library's own client if there are any.
    pub ssh_options: Vec<String>,
    /// The port of this host that leads to the guest's port 22; `None` is one that is free.
    pub ssh_port: Option<u16>,
    /// QEMU's name of the network card for SSH; `None` is `virtio-net-pci`.
    pub ssh_net_driver: Option<String>,
    /// How long the guest may take to accept SSH; `None` is 90 s.
    pub ssh_timeout: Option<Duration>,
    /// Folders of this host that the guest sees.
    pub shared_folders: Vec<SharedFolder>,
    /// Whether disks are what QEMU has by default (IDE), and not on virtio-scsi.
    pub no_virtio_scsi: bool,
    /// Memory in bytes; `None` is QEMU's default.
    pub memory: Option<u64>,
    /// Virtual CPUs; `None` is one.
    pub cpus: Option<u32>,
    /// How long the guest may take to shut down before QEMU is ended; `None` is 20 s.
    pub shutdown_timeout: Option<Duration>,
    /// How long QEMU may take to answer; `None` is 10 s.
    pub qmp_timeout: Option<Duration>,
    /// The QEMU program, a name or a path; `None` is `qemu-system-x86_64`.
    pub qemu: Option<PathBuf>,
    /// More arguments for QEMU, which get them untouched and in this order.
    pub qemu_args: Vec<String>,
}

impl VmConfig {
    /// Returns the settings of a VM with all defaults.
    pub fn new(image: impl Into<String>) -> Self {
        Self { image: image.into(), ..Self::default() }
    }

    /// Has what `over` sets win; lists are appended.
    pub fn merge(&mut self, over: Self) {
        if !over.image.is_empty() {
            self.image = over.image;
        }
        fn replace<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        replace(&mut self.name, over.name);
        replace(&mut self.ssh_command, over.ssh_command);
        replace(&mut self.ssh_user, over.ssh_user);
        replace(&mut self.ssh_key, over.ssh_key);
        replace(&mut self.ssh_program, over.ssh_program);
        replace(&mut self.ssh_port, over.ssh_port);
        replace(&mut self.ssh_net_driver, over.ssh_net_driver);
        replace(&mut self.ssh_timeout, over.ssh_timeout);
        replace(&mut self.memory, over.memory);
        replace(&mut self.cpus, over.cpus);
        replace(&mut self.shutdown_timeout, over.shutdown_timeout);
        replace(&mut self.qmp_timeout, over.qmp_timeout);
        replace(&mut self.qemu, over.qemu);
        self.ssh |= over.ssh;
        self.ssh_with_serial |= over.ssh_with_serial;
        self.no_virtio_scsi |= over.no_virtio_scsi;
        self.extra_images.extend(over.extra_images);
        self.ssh_options.extend(over.ssh_options);
        self.shared_folders.extend(over.shared_folders);
        self.qemu_args.extend(over.qemu_args);
    }

    /// Whether a person or a command uses SSH.
    pub fn has_ssh_session(&self) -> bool {
        self.ssh || self.ssh_command.is_some() || self.ssh_with_serial
    }

    /// Whether the guest is reached by SSH, be it only for its shared folders.
    pub fn has_ssh(&self) -> bool {
        self.has_ssh_session() || !self.shared_folders.is_empty()
    }

    /// Memory and processors as QEMU is told of them, then the arguments that it gets untouched.
    pub(super) fn all_qemu_args(&self) -> Vec<String> {
        let memory = self.memory.map(|memory| ["-m".to_owned(), format!("{}M", memory >> 20)]);
        let cpus = self.cpus.map(|cpus| ["-smp".to_owned(), cpus.to_string()]);
        let ours = memory.into_iter().chain(cpus).flatten();
        ours.chain(self.qemu_args.iter().cloned()).collect()
    }

    /// How SSH logs in and what it may take.
    pub fn ssh_options(&self) -> SshOptions {
        SshOptions {
            user: self.ssh_user.clone().unwrap_or_else(|| SSH_USER.to_owned()),
            key: self.ssh_key.clone(),
            program: self.ssh_program.clone(),
            options: self.ssh_options.clone(),
            timeout: self.ssh_timeout.unwrap_or(SSH_TIMEOUT),
        }
    }

    pub(super) fn net_driver(&self) -> &str {
        self.ssh_net_driver.as_deref().unwrap_or(SSH_NET_DRIVER)
    }

    pub(super) fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT)
    }

    pub(super) fn qmp_timeout(&self) -> Duration {
        self.qmp_timeout.unwrap_or(QMP_TIMEOUT)
    }

    pub(super) fn qemu(&self) -> PathBuf {
        self.qemu.clone().unwrap_or_else(|| QEMU.into())
    }
}

/// How SSH logs in to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshOptions {
    /// Who logs in.
    pub user: String,
    /// The private key to log in with; `None` as in [`VmConfig::ssh_key`].
    pub key: Option<PathBuf>,
    /// The SSH program that is used in place of the library's own client.
    pub program: Option<PathBuf>,
    /// Options for `-o` of OpenSSH, which is used in place of the library's own client if there are any.
    pub options: Vec<String>,
    /// How long the guest may take to accept it.
    pub timeout: Duration,
}

impl Default for SshOptions {
    fn default() -> Self {
        VmConfig::default().ssh_options()
    }
}

impl SshOptions {
    /// The program of OpenSSH, if that is what is asked for.
    pub(super) fn openssh(&self) -> Option<PathBuf> {
        match &self.program {
            None if self.options.is_empty() => None,
            program => Some(program.clone().unwrap_or_else(|| "ssh".into())),
        }
    }
}

/// A folder of this host that a guest sees: `HOST:GUEST`, or `HOST:GUEST:ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFolder {
    /// The folder.
    pub host: PathBuf,
    /// Where the guest sees it, an absolute path.
    pub guest: String,
    /// Whether the guest can change nothing in it.
    pub read_only: bool,
}

impl FromStr for SharedFolder {
    type Err = Error;

    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let (mapping, read_only) = match text.strip_suffix(":ro") {
            Some(mapping) => (mapping, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        match mapping.rsplit_once(':') {
            Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
                Ok(Self { host: host.into(), guest: guest.to_owned(), read_only })
            }
            _ => Err(Error::new(ErrorKind::InvalidArgument, format!("'{text}' is no shared folder"))
                .hint("expected HOST:GUEST or HOST:GUEST:ro, where GUEST is an absolute path of the guest")),
        }
    }
}

impl std::fmt::Display for SharedFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read_only = if self.read_only { ":ro" } else { "" };
        write!(formatter, "{}:{}{read_only}", self.host.display(), self.guest)
    }
}

/// A copy between this host and the disk of a VM that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCopy {
    /// A file, folder or link. Of the VM, an absolute path.
    pub source: PathBuf,
    /// Where it goes: below it if that is a folder, else it takes that name. Of the VM, an absolute path.
    pub destination: PathBuf,
}

impl FileCopy {
    /// Reads `HOST:GUEST`, a copy into a VM.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`].
    pub fn into_vm(text: &str) -> Result<Self, Error> {
        match text.rsplit_once(':') {
            Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
                Ok(Self { source: host.into(), destination: guest.into() })
            }
            _ => Err(Error::new(ErrorKind::InvalidArgument, format!("'{text}' is no copy into a VM"))
                .hint("expected path/on/host:/absolute/path/on/guest")),
        }
    }

    /// Reads `GUEST:HOST`, a copy out of a VM.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`].
    pub fn out_of_vm(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some((guest, host)) if !host.is_empty() && guest.starts_with('/') => {
                Ok(Self { source: guest.into(), destination: host.into() })
            }
            _ => Err(Error::new(ErrorKind::InvalidArgument, format!("'{text}' is no copy out of a VM"))
                .hint("expected /absolute/path/on/guest:path/on/host")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_wins_and_lists_grow() {
        let mut config = VmConfig::new("a");
        config.ssh_user = Some("root".into());
        config.qemu_args = vec!["-m".into(), "1G".into()];
        let mut over = VmConfig { ssh: true, ssh_port: Some(22), ..VmConfig::default() };
        over.qemu_args = vec!["-m".into(), "2G".into()];
        config.merge(over);
        assert_eq!((config.image.as_str(), config.ssh, config.ssh_port), ("a", true, Some(22)));
        assert_eq!(config.ssh_options().user, "root");
        assert_eq!(config.qemu_args, ["-m", "1G", "-m", "2G"]);
    }

    #[test]
    fn memory_and_processors_come_before_what_is_untouched() {
        let config = VmConfig {
            memory: Some(1 << 30),
            cpus: Some(2),
            qemu_args: vec!["-m".into(), "3G".into()],
            ..VmConfig::default()
        };
        assert_eq!(config.all_qemu_args(), ["-m", "1024M", "-smp", "2", "-m", "3G"]);
    }

    #[test]
    fn mappings_are_read() {
        let shared: SharedFolder = "a:b:/mnt:ro".parse().expect("a mapping");
        assert_eq!(
            (shared.host.to_str(), shared.guest.as_str(), shared.read_only),
            (Some("a:b"), "/mnt", true)
        );
        assert_eq!(shared.to_string(), "a:b:/mnt:ro");
        for wrong in ["", ":", "a:", ":/b", "a:b", "a", "a:b:ro"] {
            assert!(wrong.parse::<SharedFolder>().is_err(), "{wrong}");
        }
        assert_eq!(FileCopy::into_vm("x:/y").expect("a copy").destination, PathBuf::from("/y"));
        assert_eq!(FileCopy::out_of_vm("/x:y").expect("a copy").source, PathBuf::from("/x"));
        assert!(FileCopy::into_vm("x:y").is_err() && FileCopy::out_of_vm("x:/y").is_err());
    }
}
