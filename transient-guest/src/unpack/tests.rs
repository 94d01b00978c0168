//! What we unpack, against what GNU tar unpacks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::inside;
use crate::protocol::{FailureCause, Placement};

/// Everything of a file that an archive keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    links: u64,
    modified: (i64, i64),
    content: Vec<u8>,
    blocks: u64,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

pub(crate) fn see(top: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            fs::read(&path).unwrap()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else {
            Vec::new()
        };
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let names = xattr::list(&path).unwrap().filter(|name| name != "security.selinux");
        let attributes =
            names.map(|name| (name.clone(), xattr::get(&path, &name).unwrap().unwrap_or_default())).collect();
        let seen = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            device: meta.rdev(),
            links: if meta.is_dir() { 0 } else { meta.nlink() },
            modified: (meta.mtime(), meta.mtime_nsec()),
            content,
            blocks: if meta.is_file() { meta.blocks() } else { 0 },
            attributes,
        };
        found.insert(path.strip_prefix(top).unwrap().to_owned(), seen);
    }
    found
}

pub(crate) fn shell(script: &str, folder: &Path) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(folder).status().unwrap();
    assert!(status.success(), "{script}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes one of everything.
pub(crate) fn source(top: &Path) {
    let folder = top.join("source");
    fs::create_dir(&folder).unwrap();
    shell(
        "mkdir -p d/e sticky; echo hello > d/file; ln d/file d/e/hard; ln -s ../file d/e/soft; ln -s /nowhere broken
        : > empty; chmod 400 empty; cp /bin/true setuid; mkfifo pipe; printf x > d/e/setgid
        truncate -s 3000000 holes; printf abc | dd of=holes bs=1 seek=1000000 conv=notrunc status=none
        printf def | dd of=holes bs=1 seek=2500000 conv=notrunc status=none; truncate -s 500000 hole",
        &folder,
    );
    let long = "n".repeat(120);
    fs::create_dir_all(folder.join(&long).join(&long)).unwrap();
    fs::write(folder.join(&long).join(&long).join("file"), "deep").unwrap();
    symlink(format!("{long}/{long}/file"), folder.join("long-link")).unwrap();
    fs::hard_link(folder.join(&long).join(&long).join("file"), folder.join(&long).join(&long).join("other"))
        .unwrap();
    fs::write(folder.join("line\nbreak"), "1").unwrap();
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff")), "2").unwrap();
    fs::write(folder.join("big"), vec![7; 1_234_567]).unwrap();
    let _ = xattr::set(folder.join("d/file"), "user.a", b"1\n2\0");
    if is_root() {
        shell(
            "chmod 0 empty; chown 1000:1001 d/file d; chown -h 5:6 broken; chown 7:7 setuid d/e/setgid
            mknod null c 1 3; mknod disk b 254 17; mknod large c 300 70000",
            &folder,
        );
        let _ = xattr::set(
            folder.join("setuid"),
            "security.capability",
            &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
    }
    shell(
        "chmod 4755 setuid; chmod 2755 d/e/setgid; chmod 1777 sticky; chmod 2775 d; chmod 500 d/e",
        &folder,
    );
    shell(
        "touch -d '2001-02-03 04:05:06.123456789' d/file d/e d . ; touch -hd 1999-01-01 broken; touch -d 1960-01-01 empty",
        &folder,
    );
}

fn unpack_file(archive: &Path, root: &Path, destination: &str) -> Result<Vec<String>, Failure> {
    let mut stream = BufReader::with_capacity(4096, File::open(archive).unwrap());
    let root = inside::root(root).unwrap();
    let places = Places::new(&root, Path::new(destination), &Placement::Into);
    rustix::process::umask(rustix::fs::Mode::empty());
    unpack(&mut stream, root, places, Site::Image)
}

#[test]
fn every_format_is_unpacked_as_by_gnu_tar() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    source(top);
    let formats = [
        "--format=gnu",
        "--format=gnu --sparse",
        "--format=posix --xattrs --xattrs-include=*",
        "--format=posix --sparse --sparse-version=0.0",
        "--format=posix --sparse --sparse-version=0.1",
        "--format=posix --sparse --sparse-version=1.0 --xattrs --xattrs-include=*",
    ];
    for (number, format) in formats.into_iter().enumerate() {
        let (theirs, ours) = (top.join(format!("theirs{number}")), top.join(format!("ours{number}")));
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(&ours).unwrap();
        let archive = top.join("archive.tar");
        shell(&format!("tar -C source {format} -cf archive.tar ."), top);
        let xattrs = if format.contains("xattrs") { "--xattrs --xattrs-include=*" } else { "" };
        shell(&format!("tar -C theirs{number} {xattrs} --same-owner --numeric-owner -xpf archive.tar"), top);
        assert_eq!(unpack_file(&archive, &ours, "/").unwrap(), [""; 0], "{format}");
        let (theirs, ours) = (see(&theirs), see(&ours));
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{format}");
        for (path, expected) in &theirs {
            let found = &ours[path];
            let differs = expected != found;
            let brief = |seen: &Seen| {
                let Seen { mode, owner, device, links, modified, content, blocks, attributes } = seen;
                format!(
                    "{mode:o} {owner:?} {device} {links} {modified:?} {} {blocks} {attributes:?}",
                    content.len()
                )
            };
            assert!(!differs, "{format}: {path:?}\ntheirs {}\nours   {}", brief(expected), brief(found));
        }
    }
}

#[test]
fn nothing_is_written_through_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    shell(
        "mkdir -p outside image/usr/lib image/full/x; echo keep > outside/file; echo keep > image/target
        ln -s ../outside/file image/file; ln -s usr/lib image/lib; ln image/target image/hard; ln -s /../../outside image/up
        mkdir -p s/lib s/up s/dir; echo new > s/file; echo new > s/lib/a; echo new > s/hard; echo new > s/up/b; echo f > s/dir/f
        mkdir image/swapped; echo new > s/swapped; ln -s nowhere image/dir
        tar -C s -cf a.tar file lib hard up dir swapped",
        top,
    );
    unpack_file(&top.join("a.tar"), &top.join("image"), "/").unwrap();
    let read = |path: &str| fs::read_to_string(top.join(path)).unwrap_or_default();
    assert_eq!(read("outside/file"), "keep\n");
    assert_eq!(read("image/target"), "keep\n");
    assert_eq!(read("image/file") + &read("image/hard") + &read("image/swapped"), "new\nnew\nnew\n");
    assert!(top.join("image/lib").is_symlink(), "a link to a directory stays");
    assert_eq!(read("image/usr/lib/a"), "new\n");
    assert!(!top.join("outside/b").exists(), "a link cannot lead out");
    assert_eq!(read("image/dir/f"), "f\n");
}

#[test]
fn wicked_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    shell(
        "mkdir -p in/a image; echo x > in/f; echo x > in/a/f; cd in/a; tar -Pcf ../../up.tar ../f
        cd ..; ln f g; tar -cf ../hard.tar f g; tar --delete -f ../hard.tar f",
        top,
    );
    let failure = unpack_file(&top.join("up.tar"), &top.join("image"), "/").unwrap_err();
    assert_eq!(failure.cause, FailureCause::BadArchive, "{failure:?}");
    let failure = unpack_file(&top.join("hard.tar"), &top.join("image"), "/").unwrap_err();
    assert_eq!(failure.cause, FailureCause::BadArchive, "{failure:?}");
    let whole = fs::read(top.join("up.tar")).unwrap();
    let mut damaged = whole.clone();
    damaged[5] ^= 1;
    fs::write(top.join("damaged.tar"), damaged).unwrap();
    assert!(unpack_file(&top.join("damaged.tar"), &top.join("image"), "/").is_err());
}

#[test]
fn a_destination_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    shell("mkdir in image; echo x > in/f; tar -C in -cf a.tar f", top);
    unpack_file(&top.join("a.tar"), &top.join("image"), "/opt/new").unwrap();
    assert_eq!(fs::read(top.join("image/opt/new/f")).unwrap(), b"x\n");
}
