//! Archives that are unpacked on the host, some made to do harm.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::hostile::{archive, file, hard_link, link, member};
use super::tests::is_root;
use super::*;
use crate::inside;
use crate::protocol::FailureCause;

fn unpack_at(folder: &Path, places: Places, members: &[Vec<u8>]) -> Result<Vec<String>, Failure> {
    unpack(&mut &archive(members)[..], inside::root(folder).unwrap(), places, Site::Host)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_but_what_was_asked_for_comes() {
    for name in [&b".bashrc"[..], b"../x", b"etc/../../x", b".", b"/", b"./.ssh/key", b"other/etc"] {
        for members in [
            vec![file(name, b"x")],
            vec![link(name, b"/")],
            vec![member(b'5', b"etc", b"", 0, b""), file(b"etc/a", b""), hard_link(name, b"etc/a")],
            vec![member(b'5', b"etc", b"", 0, b""), file(b"etc/a", b""), hard_link(b"etc/b", name)],
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("mine"), "").unwrap();
            let places = Places::only(OsStr::new("etc"), OsStr::new("etc"));
            let failure = unpack_at(folder.path(), places, &members).unwrap_err();
            assert_eq!(failure.cause, FailureCause::BadArchive, "{failure:?}");
            let names: Vec<_> = names(folder.path()).into_iter().filter(|name| name != "etc").collect();
            assert_eq!(names, ["mine"], "{name:?}");
        }
    }
}

#[test]
fn no_link_is_followed() {
    for target in [&b"/"[..], b"..", b"../outside", b"d", b"."] {
        let target_path = Path::new(OsStr::from_bytes(target));
        let members = [member(b'5', b"d", b"", 0, b""), link(b"to", target), file(b"to/x", b"bad")];
        for made_before in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let to = folder.path().join("to");
            fs::create_dir(&to).unwrap();
            fs::create_dir(folder.path().join("outside")).unwrap();
            let members = if made_before {
                symlink(target_path, to.join("to")).unwrap();
                vec![members[0].clone(), members[2].clone()]
            } else {
                members.to_vec()
            };
            assert!(unpack_at(&to, Places::top(), &members).is_err(), "{target_path:?}");
            assert_eq!(names(&folder.path().join("outside")), [""; 0]);
            assert_eq!(names(folder.path()), ["outside", "to"]);
            assert_eq!(names(&to.join("d")), [""; 0]);
        }
    }
}

#[test]
fn a_file_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "before").unwrap();
    let whole = archive(&[file(b"f", &[7; 5000])]);
    for length in [512, 513, 5000] {
        let root = inside::root(folder.path()).unwrap();
        unpack(&mut &whole[..length], root, Places::top(), Site::Host).unwrap_err();
        assert_eq!(names(folder.path()), ["f"]);
        assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"before");
    }
    unpack_at(folder.path(), Places::top(), &[file(b"f", b"after")]).unwrap();
    assert_eq!(names(folder.path()), ["f"]);
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"after");
}

#[test]
fn what_a_file_would_replace_is_never_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("to/full/x")).unwrap();
    fs::create_dir(at("to/empty")).unwrap();
    fs::write(at("keep"), "keep").unwrap();
    symlink("../keep", at("to/link")).unwrap();
    fs::hard_link(at("keep"), at("to/hard")).unwrap();
    let members = [file(b"link", b"new"), file(b"hard", b"new"), link(b"kind", b"a"), file(b"kind", b"new")];
    unpack_at(&at("to"), Places::top(), &members).unwrap();
    assert_eq!(fs::read(at("keep")).unwrap(), b"keep");
    for name in ["link", "hard", "kind"] {
        assert_eq!(fs::read(at("to").join(name)).unwrap(), b"new");
        assert!(fs::symlink_metadata(at("to").join(name)).unwrap().is_file());
    }
    for members in
        [[file(b"full", b"")], [file(b"empty", b"")], [link(b"empty", b"x")], [hard_link(b"empty", b"hard")]]
    {
        unpack_at(&at("to"), Places::top(), &members).unwrap_err();
    }
    unpack_at(&at("to"), Places::top(), &[member(b'5', b"link", b"", 0, b"")]).unwrap_err();
    assert_eq!(names(&at("to")), ["empty", "full", "hard", "kind", "link"]);
}

#[test]
fn rights_are_lent_only_with_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = [file(b"tool", b"x"), member(b'3', b"device", b"", 0, b"")];
    let mut header = tar::Header::from_byte_slice(&members[0][..512]).clone();
    header.set_mode(0o4755);
    header.set_cksum();
    members[0][..512].copy_from_slice(header.as_bytes());
    let notes = unpack_at(folder.path(), Places::top(), &members).unwrap();
    let tool = fs::metadata(folder.path().join("tool")).unwrap();
    if is_root() {
        assert_eq!((tool.uid(), tool.permissions().mode() & 0o7777), (0, 0o4755));
    } else {
        assert_eq!(tool.permissions().mode() & 0o7777, 0o755);
        assert!(notes[0].contains("of the kind device were passed over"), "{notes:?}");
        assert_eq!(names(folder.path()), ["tool"]);
    }
}

#[test]
fn a_directory_that_may_not_be_written_to_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = [member(b'5', b"d", b"", 0, b""), file(b"d/f", b"x")];
    let mut header = tar::Header::from_byte_slice(&members[0]).clone();
    header.set_mode(0o500);
    header.set_mtime(1_000_000);
    header.set_cksum();
    members[0].copy_from_slice(header.as_bytes());
    unpack_at(folder.path(), Places::top(), &members).unwrap();
    let made = fs::metadata(folder.path().join("d")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.mtime()), (0o500, 1_000_000));
    assert_eq!(fs::read(folder.path().join("d/f")).unwrap(), b"x");
    fs::set_permissions(folder.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn directories_without_end_are_refused() {
    /// Ever more directories with long names.
    struct Endless(u64, std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.1.position() == self.1.get_ref().len() as u64 {
                self.0 += 1;
                // Links that lead out are kept until the end: nothing is made of them before.
                let long = [b"../", &[b'x'; 3 << 20][..]].concat();
                let header = member(b'K', b"header", b"", long.len() as u64, &long);
                let link = link(format!("l{}", self.0).as_bytes(), b"..");
                self.1 = std::io::Cursor::new([header, link].concat());
            }
            self.1.read(buffer)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut endless = std::io::BufReader::new(Endless(0, std::io::Cursor::new(Vec::new())));
    let root = inside::root(folder.path()).unwrap();
    let failure = unpack(&mut endless, root, Places::top(), Site::Host).unwrap_err();
    assert!(failure.message.contains("too many directories"), "{failure:?}");
}
