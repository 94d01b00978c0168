//! Archives that are made to do harm.

use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::*;
use crate::inside;
use crate::protocol::{FailureCause, Placement};

/// What happened in a folder with `outside`, and with an image beside it in whose `/dst` an archive was unpacked.
struct Scene {
    folder: tempfile::TempDir,
    outcome: Result<Vec<String>, Failure>,
}

impl Scene {
    fn unpack(archive: impl Read) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["outside", "image/etc", "image/dst"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        for path in ["outside/file", "image/etc/passwd"] {
            fs::write(folder.path().join(path), "keep").unwrap();
        }
        let root = inside::root(&folder.path().join("image")).unwrap();
        let mut stream = BufReader::new(archive);
        let places = Places::new(&root, Path::new("/dst"), &Placement::Into);
        rustix::process::umask(rustix::fs::Mode::empty());
        let outcome = unpack(&mut stream, root, places, Site::Image);
        Self { folder, outcome }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn dst(&self, name: &[u8]) -> PathBuf {
        self.at("image/dst").join(std::ffi::OsStr::from_bytes(name))
    }

    fn assert_refused(&self, what: &str) {
        let failure = self.outcome.as_ref().expect_err(what);
        assert_eq!(failure.cause, FailureCause::BadArchive, "{what}: {failure:?}");
        self.assert_untouched(what);
    }

    /// Asserts that the archive did nothing outside of its destination.
    fn assert_untouched(&self, what: &str) {
        for (folder, file) in [("outside", "file"), ("image/etc", "passwd")] {
            let names: Vec<_> =
                fs::read_dir(self.at(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, [file], "{what}");
            assert_eq!(fs::read_to_string(self.at(folder).join(file)).unwrap(), "keep", "{what}");
        }
        let names = |folder| fs::read_dir(self.at(folder)).unwrap().count();
        assert_eq!((names("image"), names(".")), (2, 2), "{what}");
    }
}

/// One member: its type, its name, what it links to, the size that it states, and the data that follows.
pub(super) fn member(kind: u8, name: &[u8], link: &[u8], size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..link.len()].copy_from_slice(link);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    let mut bytes = [header.as_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(super) fn file(name: &[u8], data: &[u8]) -> Vec<u8> {
    member(b'0', name, b"", data.len() as u64, data)
}

pub(super) fn link(name: &[u8], target: &[u8]) -> Vec<u8> {
    member(b'2', name, target, 0, b"")
}

pub(super) fn hard_link(name: &[u8], target: &[u8]) -> Vec<u8> {
    member(b'1', name, target, 0, b"")
}

pub(super) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

#[test]
fn names_that_lead_out_are_refused_or_stay_below() {
    for name in [&b"../x"[..], b"a/../../x", b"./../x", b"/../x", b"a/.."] {
        Scene::unpack(&archive(&[file(name, b"x")])[..]).assert_refused(&String::from_utf8_lossy(name));
    }
    let scene = Scene::unpack(&archive(&[file(b"/etc/passwd", b"x")])[..]);
    scene.outcome.as_ref().unwrap();
    scene.assert_untouched("an absolute name");
    assert!(scene.dst(b"etc/passwd").is_file());
}

#[test]
fn links_of_the_archive_are_not_written_through() {
    for target in [&b"/etc"[..], b"../etc", b"../../outside", b"/../../outside", b"a/../../etc"] {
        let shown = String::from_utf8_lossy(target).into_owned();
        for name in [&b"to/passwd"[..], b"to/file", b"to/new", b"to/new/deep"] {
            // Also through another link, and through another name of the link.
            for members in [
                vec![file(b"a/x", b""), link(b"to", target), file(name, b"bad")],
                vec![file(name, b"bad"), link(b"to", target), file(name, b"bad")],
                vec![link(b"from", target), link(b"to", b"from"), file(name, b"bad")],
                vec![link(b"from", target), hard_link(b"to", b"from"), file(name, b"bad")],
            ] {
                let scene = Scene::unpack(&archive(&members)[..]);
                assert!(scene.outcome.is_err(), "{shown}");
                scene.assert_untouched(&shown);
            }
        }
        // The link itself is welcome.
        let scene = Scene::unpack(&archive(&[link(b"to", target), hard_link(b"too", b"to")])[..]);
        assert_eq!(scene.outcome, Ok(Vec::new()));
        scene.assert_untouched(&shown);
        for name in [&b"to"[..], b"too"] {
            assert_eq!(fs::read_link(scene.dst(name)).unwrap().as_os_str().as_bytes(), target);
        }
    }
}

#[test]
fn of_several_members_of_a_name_the_last_counts() {
    let scene = Scene::unpack(
        &archive(&[
            link(b"file", b"/etc/passwd"),
            file(b"file", b"new"),
            file(b"link", b"old"),
            link(b"link", b"/etc/group"),
            link(b"link", b"/etc/passwd"),
            link(b"folder", b"/etc"),
            member(b'5', b"folder/", b"", 0, b""),
            file(b"folder/passwd", b"new"),
        ])[..],
    );
    assert_eq!(scene.outcome, Ok(Vec::new()));
    scene.assert_untouched("names that come twice");
    assert_eq!(fs::read(scene.dst(b"file")).unwrap(), b"new");
    assert_eq!(fs::read_link(scene.dst(b"link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read(scene.dst(b"folder/passwd")).unwrap(), b"new");
}

#[test]
fn links_that_stay_below_are_followed() {
    let members = [link(b"lib", b"usr/lib"), file(b"usr/lib/a", b"1"), file(b"lib/b", b"2")];
    let scene = Scene::unpack(&archive(&members)[..]);
    assert_eq!(scene.outcome, Ok(Vec::new()));
    assert_eq!(fs::read(scene.dst(b"usr/lib/b")).unwrap(), b"2");
    let loops = [link(b"a", b"b"), link(b"b", b"a"), file(b"a/x", b"")];
    assert!(Scene::unpack(&archive(&loops)[..]).outcome.is_err());
}

#[test]
fn the_destination_itself_stays() {
    for name in [&b"."[..], b"./", b"", b"/"] {
        Scene::unpack(&archive(&[link(name, b"etc")])[..]).assert_refused("a link");
        Scene::unpack(&archive(&[link(name, b"/etc")])[..]).assert_refused("a link that leads out");
        Scene::unpack(&archive(&[member(b'6', name, b"", 0, b"")])[..]).assert_refused("a pipe");
    }
}

#[test]
fn a_hard_link_leads_to_nothing_outside() {
    for target in [&b"../etc/passwd"[..], b"/../../outside/file", b"nowhere", b"/outside/file"] {
        Scene::unpack(&archive(&[hard_link(b"h", target)])[..]).assert_refused("a hard link");
    }
    // What is then written under its name does not get into the file that it leads to.
    let members = [file(b"f", b"old"), hard_link(b"h", b"f"), file(b"h", b"new")];
    let scene = Scene::unpack(&archive(&members)[..]);
    assert_eq!(fs::read(scene.dst(b"f")).unwrap(), b"old");
    assert_eq!(fs::read(scene.dst(b"h")).unwrap(), b"new");
}

#[test]
fn devices_and_pipes_are_made_but_never_written_to() {
    for kind in *b"346" {
        let scene = Scene::unpack(&archive(&[member(kind, b"node", b"", 0, b""), file(b"node", b"x")])[..]);
        // Only root makes devices.
        if kind != b'6' && !rustix::process::geteuid().is_root() {
            assert!(scene.outcome.is_err());
            continue;
        }
        assert_eq!(scene.outcome, Ok(Vec::new()), "{}", kind as char);
        assert_eq!(fs::read(scene.dst(b"node")).unwrap(), b"x");
        let scene = Scene::unpack(&archive(&[member(kind, b"node", b"", 0, b"")])[..]);
        let found = fs::symlink_metadata(scene.dst(b"node")).unwrap();
        match kind {
            b'3' => assert!(found.file_type().is_char_device() && found.rdev() == 0x103),
            b'4' => assert!(found.file_type().is_block_device()),
            _ => assert!(found.file_type().is_fifo()),
        }
    }
}

#[test]
fn odd_names_are_kept_as_they_are() {
    for name in [&b"line\nbreak"[..], b"\x1b[31mred", b"\xff\xfe", b"-rf", b"a b", b"..a", b"\\"] {
        let scene = Scene::unpack(&archive(&[file(name, b"x")])[..]);
        assert_eq!(scene.outcome, Ok(Vec::new()));
        assert_eq!(fs::read(scene.dst(name)).unwrap(), b"x");
    }
    let long = [&[b'n'; 90][..], b"/"].concat();
    let deep = [b"L".as_slice(), &long.repeat(100)].concat();
    let long_name = member(b'L', b"././@LongLink", b"", deep.len() as u64, &deep);
    assert!(Scene::unpack(&archive(&[long_name, file(b"x", b"")])[..]).outcome.is_err());
}

#[test]
fn sizes_that_lie_are_refused() {
    for size in [4096, u64::MAX / 2, u64::MAX - 511, u64::MAX] {
        Scene::unpack(&archive(&[member(b'0', b"f", b"", size, b"x")])[..]).assert_refused("a file");
        Scene::unpack(&archive(&[member(b'5', b"d", b"", size, b"x"), file(b"f", b"")])[..])
            .assert_refused("a directory");
        Scene::unpack(&archive(&[member(b'L', b"n", b"", size, b"x")])[..]).assert_refused("a long name");
        Scene::unpack(&archive(&[member(b'x', b"n", b"", size, b"x")])[..]).assert_refused("a header");
    }
    // A link has no data, whatever is said: what follows is the next member.
    let members = [file(b"f", b"x"), member(b'1', b"h", b"f", 4096, b""), file(b"g", b"y")];
    let scene = Scene::unpack(&archive(&members)[..]);
    assert_eq!(scene.outcome, Ok(Vec::new()));
    assert_eq!(fs::read(scene.dst(b"g")).unwrap(), b"y");
}

#[test]
fn a_file_that_is_cut_off_is_not_left() {
    let whole = archive(&[file(b"f", &[7; 5000])]);
    let scene = Scene::unpack(&whole[..3000]);
    scene.assert_refused("a file that is cut off");
    assert!(!scene.dst(b"f").exists());
}

#[test]
fn extended_headers_without_end_are_refused() {
    /// Hands out the same bytes for ever.
    struct Endless(std::io::Cursor<Vec<u8>>);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() == self.0.get_ref().len() as u64 {
                self.0.set_position(0);
            }
            self.0.read(buffer)
        }
    }
    let record = [b"1000 a=", &[b'x'; 992][..], b"\n"].concat().repeat(1000);
    for kind in *b"xgLK" {
        let header = member(kind, b"header", b"", record.len() as u64, &record);
        let endless = Endless(std::io::Cursor::new(header));
        Scene::unpack(endless).assert_refused(&format!("endless {}", kind as char));
    }
    // A sparse file with ever more parts.
    let mut sparse = member(b'S', b"sparse", b"", 0, b"");
    sparse[386..410].copy_from_slice(b"00000000000\x0000000000000\0");
    sparse[482] = 1;
    fix_checksum(&mut sparse);
    let mut more = vec![0; 512];
    more[..504].copy_from_slice(&b"00000000000\x0000000000000\0".repeat(21));
    more[504] = 1;
    let endless = std::io::Cursor::new(sparse).chain(Endless(std::io::Cursor::new(more)));
    Scene::unpack(endless).assert_refused("a sparse file");
}

fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
