//! Where things are on the host. The only module that reads the environment.

mod downloads;

use std::env;
use std::path::{Path, PathBuf};

pub use downloads::Downloads;

use crate::{Error, ErrorKind};

/// The folders and programs that the library works with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Locations {
    /// The backend: one read-only qcow2 file an image.
    pub backend: PathBuf,
    /// The VM store: one folder a VM.
    pub vmstore: PathBuf,
    /// What may be thrown away and made again.
    pub cache: PathBuf,
    /// The appliance that must be used; no other is looked for then.
    pub appliance: Option<PathBuf>,
    /// Folders that may hold an appliance, the first that does is used.
    pub appliances: Vec<PathBuf>,
    /// The folder of the VMs that run. It belongs to this user alone.
    pub running: PathBuf,
    /// Where a VM that keeps nothing has what it writes meanwhile.
    pub temporary: PathBuf,
    /// The socket of the user's SSH agent.
    pub ssh_agent: Option<PathBuf>,
    /// The folder of the user's SSH keys.
    pub ssh_keys: Option<PathBuf>,
    /// How images are downloaded.
    pub downloads: Downloads,
}

impl Locations {
    /// Returns locations with everything below one folder, and no appliance but those added.
    pub fn below(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self {
            backend: folder.join("backend"),
            vmstore: folder.join("vmstore"),
            cache: folder.join("cache"),
            appliance: None,
            appliances: Vec::new(),
            running: folder.join("running"),
            temporary: folder.join("temporary"),
            ssh_agent: None,
            ssh_keys: None,
            downloads: Downloads::default(),
        }
    }

    /// Returns the locations that the environment names: `TRANSIENT_BACKEND`, `TRANSIENT_VMSTORE`,
    /// `TRANSIENT_CACHE`, `TRANSIENT_APPLIANCE`, `XDG_DATA_HOME`, `XDG_CACHE_HOME`, `HOME`; for VMs that run
    /// `XDG_RUNTIME_DIR`, else `TMPDIR`; for SSH `SSH_AUTH_SOCK`; and for downloads
    /// `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, also in capitals, `SSL_CERT_FILE`, `SSL_CERT_DIR`,
    /// `VAGRANT_SERVER_URL`, `VAGRANT_CLOUD_TOKEN`, `ATLAS_TOKEN`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] when a location is not named and there is no `HOME` either.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_env_with(None, None)
    }

    /// As [`Locations::from_env`], but a backend or VM store that is given here wins over the environment.
    ///
    /// # Errors
    ///
    /// As [`Locations::from_env`].
    pub fn from_env_with(backend: Option<PathBuf>, vmstore: Option<PathBuf>) -> Result<Self, Error> {
        let data = || xdg("XDG_DATA_HOME", ".local/share").map(|home| home.join("transient"));
        let or = |given: Option<PathBuf>, default: &dyn Fn() -> Result<PathBuf, Error>| match given {
            Some(path) => Ok(path),
            None => default(),
        };
        Ok(Self {
            backend: or(backend.or_else(|| path("TRANSIENT_BACKEND")), &|| Ok(data()?.join("backend")))?,
            vmstore: or(vmstore.or_else(|| path("TRANSIENT_VMSTORE")), &|| Ok(data()?.join("vmstore")))?,
            cache: or(path("TRANSIENT_CACHE"), &|| Ok(xdg("XDG_CACHE_HOME", ".cache")?.join("transient")))?,
            appliance: path("TRANSIENT_APPLIANCE"),
            appliances: appliances(),
            running: running(),
            // As QEMU: what is in /tmp may be in memory.
            temporary: path("TMPDIR").unwrap_or_else(|| "/var/tmp".into()),
            ssh_agent: path("SSH_AUTH_SOCK"),
            ssh_keys: path("HOME").map(|home| home.join(".ssh")),
            downloads: Downloads::from_env(),
        })
    }
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn xdg(name: &str, below_home: &str) -> Result<PathBuf, Error> {
    // The XDG base directory specification says that a relative path there is to be ignored.
    if let Some(home) = path(name).filter(|path| path.is_absolute()) {
        return Ok(home);
    }
    path("HOME").map(|home| home.join(below_home)).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("neither {name} nor HOME is set"))
            .hint("set HOME, or else TRANSIENT_BACKEND, TRANSIENT_VMSTORE and TRANSIENT_CACHE")
    })
}

/// Where a user without a session has no folder of the system's, it is one of the user's own among those of others.
fn running() -> PathBuf {
    match path("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
        Some(folder) => folder.join("transient"),
        None => env::temp_dir().join(format!("transient-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The appliances of the installation and of a source checkout.
fn appliances() -> Vec<PathBuf> {
    let Ok(program) = env::current_exe() else { return Vec::new() };
    let installed =
        program.parent().and_then(Path::parent).map(|prefix| prefix.join("lib/transient/appliance"));
    let checkout = program
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "target"))
        .map(|target| target.join("appliance"));
    installed.into_iter().chain(checkout).collect()
}
