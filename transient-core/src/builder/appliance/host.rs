//! Kernels of the host.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Inputs, kernel};
use crate::{Error, ErrorKind};

/// Returns the kernel and the modules folder that the inputs mean. `root` is `/` but for tests.
pub(super) fn locate(inputs: &Inputs, root: &Path) -> Result<(PathBuf, PathBuf), Error> {
    match (&inputs.kernel, &inputs.modules) {
        (Some(kernel), Some(modules)) => Ok((kernel.clone(), modules.clone())),
        (Some(kernel), None) => {
            let modules = modules_of(kernel, root)?;
            Ok((kernel.clone(), modules))
        }
        (None, Some(modules)) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("no kernel is named for the modules in {}", modules.display()),
        )
        .hint("name it with --kernel")),
        (None, None) => newest(root),
    }
}

/// Looks beside the kernel first, where an unpacked package has its modules, then on the host.
fn modules_of(path: &Path, root: &Path) -> Result<PathBuf, Error> {
    let invalid = |message| Error::new(ErrorKind::ApplianceInvalid, message);
    let file = fs::read(path)
        .map_err(|error| invalid(format!("the kernel {} cannot be read", path.display())).caused_by(error))?;
    let release = kernel::release(&file).ok_or_else(|| {
        invalid(format!("{} does not tell its release", path.display()))
            .hint("name its modules with --modules")
    })?;
    let unpacked = path.parent().and_then(Path::parent);
    let candidates: Vec<PathBuf> =
        unpacked.into_iter().chain([root]).flat_map(|root| module_folders(root, &release)).collect();
    candidates.into_iter().find(|folder| folder.is_dir()).ok_or_else(|| {
        invalid(format!("the modules of the kernel {} ({release}) are not there", path.display()))
            .hint("name their folder with --modules")
    })
}

fn module_folders(root: &Path, release: &str) -> [PathBuf; 2] {
    ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder).join(release))
}

/// Returns the newest kernel of the host that can be read, and its modules.
pub(super) fn newest(root: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let mut looked_at = Vec::new();
    for (release, path) in kernels(root) {
        let modules = module_folders(root, &release).into_iter().find(|folder| folder.is_dir());
        match (fs::File::open(&path), modules) {
            (Ok(_), Some(modules)) => return Ok((path, modules)),
            (Err(error), _) => {
                looked_at.push(format!("the kernel {} cannot be read: {error}", path.display()));
            }
            (Ok(_), None) => looked_at.push(format!("the kernel {} has no modules", path.display())),
        }
    }
    if looked_at.is_empty() {
        looked_at.push("the host has no kernel in /boot or /usr/lib/modules".into());
    }
    let none =
        Error::new(ErrorKind::ApplianceNotFound, "no appliance was found, and none could be assembled");
    let advice = [
        "install a kernel that can be read: linux-image-cloud-amd64 on Debian; on Ubuntu, where only root can \
         read kernels, `sudo chmod +r /boot/vmlinuz-*`",
        "or assemble one with `transient appliance build --kernel FILE --modules FOLDER --output FOLDER`, and \
         name it in TRANSIENT_APPLIANCE",
    ];
    Err(looked_at.into_iter().chain(advice.map(str::to_owned)).fold(none, Error::hint))
}

/// All kernels of the host by release, the newest first.
fn kernels(root: &Path) -> Vec<(String, PathBuf)> {
    let mut kernels = Vec::new();
    for entry in entries(&root.join("boot")) {
        let name =
            entry.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("vmlinuz-"));
        if let Some(release) = name {
            kernels.push((release.to_owned(), entry.clone()));
        }
    }
    for folder in entries(&root.join("usr/lib/modules")) {
        let release = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(release) = release.filter(|_| folder.join("vmlinuz").is_file()) {
            kernels.push((release, folder.join("vmlinuz")));
        }
    }
    kernels.sort_by(|a, b| version_key(&b.0).cmp(&version_key(&a.0)).then_with(|| a.1.cmp(&b.1)));
    kernels
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Numbers compare as numbers: 6.10 is newer than 6.9.
fn version_key(release: &str) -> Vec<(u64, String)> {
    let parts = release.split(|c: char| !c.is_ascii_alphanumeric());
    parts.map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(kernels: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        for release in kernels {
            fs::write(root.path().join("boot").join(format!("vmlinuz-{release}")), "").unwrap();
            fs::create_dir_all(root.path().join("lib/modules").join(release)).unwrap();
        }
        root
    }

    #[test]
    fn the_newest_kernel_wins() {
        let root = host(&["6.9.0-1-amd64", "6.10.3-1-amd64", "6.10.2-9-amd64"]);
        let (kernel, modules) = newest(root.path()).unwrap();
        assert_eq!(kernel, root.path().join("boot/vmlinuz-6.10.3-1-amd64"));
        assert_eq!(modules, root.path().join("lib/modules/6.10.3-1-amd64"));
    }

    #[test]
    fn a_kernel_without_modules_is_passed_over() {
        let root = host(&["6.9.0", "6.10.0"]);
        fs::remove_dir(root.path().join("lib/modules/6.10.0")).unwrap();
        assert_eq!(newest(root.path()).unwrap().0, root.path().join("boot/vmlinuz-6.9.0"));
    }

    #[test]
    fn no_kernel_is_an_error_that_says_what_to_do() {
        let root = host(&[]);
        let error = newest(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ApplianceNotFound);
        let report = error.report();
        for word in ["linux-image-cloud-amd64", "TRANSIENT_APPLIANCE", "/boot"] {
            assert!(report.contains(word), "{word}: {report}");
        }
    }
}
