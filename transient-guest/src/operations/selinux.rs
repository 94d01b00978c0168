//! SELinux labels of what a build made, as the image's own policy gives them.
//!
//! The kernel of the builder VM enforces nothing, so that new files have no label. The image's own
//! `setfiles` decides; but it walks whole trees. It is therefore shown a tree of empty files with the
//! names and types of those that changed, and the labels are copied from there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};
use transient_guest::protocol::Reply;

use super::failure::{Doing, Failure};
use super::{inside, mount, mounts, program, scratch};

const ATTRIBUTE: &str = "security.selinux";
/// Where the tree of empty files is, in the image.
const TREE: &str = "tmp/.transient-labels";
/// Filesystems that hold no labels, or are not part of the image.
const WITHOUT_LABELS: [&str; 5] = ["tmpfs", "vfat", "msdos", "iso9660", "ntfs3"];
/// More than any label.
const MOST_BYTES: usize = 4096;

/// Labels what has changed since the image was mounted, if the image is one with labels.
pub(super) fn relabel(image: &Path, reply: &mut dyn FnMut(Reply)) -> Result<(), Failure> {
    let Some(contexts) = contexts(image) else { return Ok(()) };
    let Some(since) = mount::mounted_since() else { return Ok(()) };
    let mut skipped: BTreeSet<PathBuf> = mounts::below(image)
        .doing(|| "cannot read the mount table")?
        .into_iter()
        .filter(|mounted| WITHOUT_LABELS.contains(&mounted.kind.as_str()))
        .map(|mounted| mounted.target)
        .collect();
    skipped.extend(scratch::mounted(image)?);
    skipped.insert(image.join(scratch::FOLDER));
    let doing = || "cannot label the files of the build";
    let changed = changed(image, since, &skipped).doing(doing)?;
    if changed.is_empty() {
        return Ok(());
    }
    scratch::mount(image)?;
    let tree = image.join(TREE);
    mirror(image, &tree, &changed).doing(doing)?;
    let outcome = set_labels(&contexts).and_then(|()| copy_labels(&tree, image, &changed).doing(doing));
    // It is in memory, and goes with that at the latest.
    let _ = fs::remove_dir_all(&tree);
    if let Err(failure) = outcome {
        let message = format!("SELinux labels are not set: {} {}", failure.message, failure.output);
        reply(Reply::Note { message: message.trim_end().to_owned() });
    }
    Ok(())
}

/// Returns the path in the image of the rules of its policy; `None` when it has no labels.
fn contexts(image: &Path) -> Option<String> {
    let root = inside::root(image).ok()?;
    let exists = |path: &str| inside::open(&root, Path::new(path), OFlags::PATH, Mode::empty()).is_ok();
    let config = inside::open(&root, Path::new("/etc/selinux/config"), OFlags::RDONLY, Mode::empty()).ok()?;
    let policy = policy(&io::read_to_string(fs::File::from(config)).ok()?)?;
    let contexts = format!("/etc/selinux/{policy}/contexts/files/file_contexts");
    let setfiles = ["/usr/sbin/setfiles", "/sbin/setfiles"].into_iter().any(exists);
    (setfiles && exists(&contexts)).then_some(contexts)
}

/// Returns the name of the policy that a configuration chooses, unless labels are disabled.
fn policy(config: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines =
            config.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        lines.next_back().map(|value| value.trim().to_owned())
    };
    if value("SELINUX").is_none_or(|mode| mode.eq_ignore_ascii_case("disabled")) {
        return None;
    }
    let name = value("SELINUXTYPE").unwrap_or_else(|| "targeted".to_owned());
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    name.chars().all(plain).then_some(name)
}

/// Returns what has changed since `floor` below `top`, relative to it.
fn changed(top: &Path, floor: (i64, i64), skipped: &BTreeSet<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        if skipped.contains(&path) {
            continue;
        }
        let meta = fs::symlink_metadata(&path)?;
        if (meta.ctime(), meta.ctime_nsec()) >= floor {
            found.extend(path.strip_prefix(top).map(Path::to_owned));
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(found)
}

/// Makes an empty file of the same type below `tree` for each of the `paths` below `top`.
fn mirror(top: &Path, tree: &Path, paths: &[PathBuf]) -> io::Result<()> {
    fs::create_dir_all(tree)?;
    for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
        let copy = tree.join(path);
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent)?;
        }
        let kind = fs::symlink_metadata(top.join(path))?.file_type();
        let node = |kind| rustix::fs::mknodat(CWD, &copy, kind, Mode::RUSR, 0).map_err(io::Error::from);
        if kind.is_dir() {
            fs::create_dir_all(&copy)?;
        } else if kind.is_symlink() {
            symlink("/", &copy)?;
        } else if kind.is_char_device() {
            node(FileType::CharacterDevice)?;
        } else if kind.is_block_device() {
            node(FileType::BlockDevice)?;
        } else if kind.is_fifo() {
            node(FileType::Fifo)?;
        } else if kind.is_socket() {
            node(FileType::Socket)?;
        } else {
            node(FileType::RegularFile)?;
        }
    }
    Ok(())
}

/// Has the image's own program label the tree.
fn set_labels(contexts: &str) -> Result<(), Failure> {
    // -m: mounts are not looked up, for without SELinux none says that it has labels.
    let command = format!("exec setfiles -F -m -r /{TREE} {contexts} /{TREE}");
    let output = Command::new("/proc/self/exe")
        .args(["run", &command])
        .stdin(Stdio::null())
        .output()
        .doing(|| "cannot start setfiles")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::other(format!("setfiles failed ({})", output.status)).with_output(program::said(&output)))
}

fn copy_labels(tree: &Path, top: &Path, paths: &[PathBuf]) -> io::Result<()> {
    let mut label = [0_u8; MOST_BYTES];
    for path in paths {
        let Ok(length) = rustix::fs::lgetxattr(tree.join(path), ATTRIBUTE, &mut label[..]) else {
            // The policy gives it none.
            continue;
        };
        rustix::fs::lsetxattr(top.join(path), ATTRIBUTE, &label[..length], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_decides() {
        let config = "# SELINUX= x\nSELINUX=enforcing\nSELINUXTYPE = targeted \n";
        assert_eq!(policy(config).as_deref(), Some("targeted"));
        assert_eq!(policy("SELINUX=disabled\nSELINUXTYPE=targeted\n"), None);
        assert_eq!(policy("SELINUX=permissive\n").as_deref(), Some("targeted"));
        assert_eq!(policy("SELINUX=enforcing\nSELINUXTYPE=../x;y\n"), None);
        assert_eq!(policy(""), None);
    }

    #[test]
    fn what_changed_is_mirrored_with_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let (image, tree) = (folder.path().join("image"), folder.path().join("tree"));
        fs::create_dir_all(image.join("old/skipped")).unwrap();
        fs::write(image.join("old/file"), "x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(folder.path().join("mark"), "").unwrap();
        let mark = fs::metadata(folder.path().join("mark")).unwrap();
        fs::create_dir_all(image.join("new/folder")).unwrap();
        fs::write(image.join("new/file"), "x").unwrap();
        fs::write(image.join("old/skipped/file"), "x").unwrap();
        symlink("nowhere", image.join("new/link")).unwrap();
        let skipped = BTreeSet::from([image.join("old/skipped")]);
        let mut found = changed(&image, (mark.ctime(), mark.ctime_nsec()), &skipped).unwrap();
        found.sort();
        let expected = ["", "new", "new/file", "new/folder", "new/link"].map(PathBuf::from);
        assert_eq!(found, expected);
        mirror(&image, &tree, &found).unwrap();
        assert!(tree.join("new/link").is_symlink() && tree.join("new/folder").is_dir());
        assert_eq!(fs::read(tree.join("new/file")).unwrap(), b"");
        assert!(!tree.join("old").exists());
    }
}
