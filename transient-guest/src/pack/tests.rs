//! What is packed, unpacked again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::unpack::tests::{is_root, see, shell, source};
use crate::unpack::{Places, Site, unpack};

fn pack(path: &Path) -> (Vec<u8>, Vec<String>) {
    let (folder, name) = Source::of(path).unwrap().place();
    let folder = inside::root(folder).unwrap();
    let (mut bytes, mut read) = (Vec::new(), 0);
    let mut packer = Packer::new(&mut bytes, Box::new(|length| read += length));
    packer.add(&folder, name, path).unwrap();
    let notes = packer.finish().unwrap();
    assert!(read <= bytes.len() as u64);
    (bytes, notes)
}

fn unpack_to(bytes: &[u8], folder: &Path, places: Places, site: Site) {
    if site == Site::Image {
        rustix::process::umask(Mode::empty());
    }
    assert_eq!(unpack(&mut &bytes[..], inside::root(folder).unwrap(), places, site).unwrap(), [""; 0]);
}

#[test]
fn one_of_everything_survives() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let from = folder.path().join("source");
    let _ = xattr::set(from.join("d"), "user.a=b", b"");
    let (bytes, notes) = pack(&from.join("."));
    assert_eq!(notes, [""; 0]);
    let (named, _) = pack(&from);
    for site in [Site::Image, Site::Host] {
        // Without root there are others' files in it, of which the owner cannot be kept.
        let to = folder.path().join(format!("{site:?}"));
        fs::create_dir(&to).unwrap();
        unpack_to(&bytes, &to, Places::top(), site);
        let (whole, mut found) = (see(&from), see(&to));
        found.remove(Path::new(""));
        let mut expected = whole.clone();
        expected.remove(Path::new(""));
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (path, expected) in &expected {
            assert_eq!(expected, &found[path], "{path:?}");
        }
        let places = Places::only(OsStr::new("source"), OsStr::new("other"));
        unpack_to(&named, &to, places, site);
        assert_eq!(see(&to.join("other")), whole);
    }
}

#[test]
fn gnu_tar_understands_it() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let from = folder.path().join("source");
    fs::write(folder.path().join("ours.tar"), pack(&from).0).unwrap();
    shell(
        "mkdir to; tar -C to --xattrs --xattrs-include=* --same-owner --numeric-owner -xpf ours.tar",
        folder.path(),
    );
    let (expected, found) = (see(&from), see(&folder.path().join("to/source")));
    for (path, expected) in &expected {
        assert_eq!(expected, &found[path], "{path:?}");
    }
}

#[test]
fn a_socket_is_passed_over_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let (bytes, notes) = pack(folder.path());
    assert_eq!(bytes.len(), 2 * 512 + 512 + 1024, "a directory, its time, and the end");
    assert!(notes[0].starts_with("1 files of the kind socket were passed over"), "{notes:?}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = inside::root(folder.path()).unwrap();
    let failure = Packer::new(Vec::new(), Box::new(|_| ()))
        .add(&root, OsStr::new("none"), Path::new("/x/none"))
        .unwrap_err();
    assert_eq!(failure.message, "cannot read /x/none: No such file or directory (os error 2)");
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Link(String),
    Folder(Vec<(String, Node)>, u32),
    /// Another name of the first file.
    Hard,
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..1500), 0_u32..0o1000)
            .prop_map(|(data, mode)| Node::File(data, mode)),
        "[a-z./]{1,150}".prop_map(Node::Link),
        Just(Node::Hard),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        (prop::collection::vec(("[a-z \\-]{1,120}", inner), 0..5), 0o500_u32..0o1000)
            .prop_map(|(entries, mode)| Node::Folder(entries, mode | 0o500))
    })
}

fn make(node: &Node, path: &Path, first: &mut Option<PathBuf>) {
    match node {
        Node::File(data, mode) => {
            if fs::write(path, data).is_ok() {
                fs::set_permissions(path, fs::Permissions::from_mode(*mode | 0o400)).unwrap();
                first.get_or_insert_with(|| path.to_owned());
            }
        }
        // Names may come twice.
        Node::Link(target) => drop(symlink(target, path)),
        Node::Hard => drop(first.as_ref().map(|first| fs::hard_link(first, path))),
        Node::Folder(entries, mode) => {
            if fs::create_dir(path).is_ok() {
                entries.iter().for_each(|(name, node)| make(node, &path.join(name), first));
                fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_survives(node in node()) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("to")).unwrap();
        make(&node, &at("from"), &mut None);
        if fs::symlink_metadata(at("from")).is_ok() {
            let places = Places::only(OsStr::new("from"), OsStr::new("copy"));
            unpack_to(&pack(&at("from")).0, &at("to"), places, Site::Host);
            prop_assert_eq!(see(&at("from")), see(&at("to/copy")));
        }
        shell("chmod -R u+w .", folder.path());
    }
}

#[test]
fn a_file_of_several_names_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("from/d")).unwrap();
    fs::create_dir(at("to")).unwrap();
    fs::write(at("from/a"), "x").unwrap();
    fs::hard_link(at("from/a"), at("from/d/b")).unwrap();
    symlink("nowhere", at("from/l")).unwrap();
    fs::hard_link(at("from/l"), at("from/m")).unwrap();
    for site in [Site::Image, Site::Host] {
        unpack_to(&pack(&at("from")).0, &at("to"), Places::top(), site);
        let number = |name: &str| fs::symlink_metadata(at(name)).unwrap().ino();
        assert_eq!(number("to/from/a"), number("to/from/d/b"));
        assert_eq!(number("to/from/l"), number("to/from/m"));
        if is_root() {
            assert_eq!(fs::metadata(at("to/from/a")).unwrap().nlink(), 2);
        }
    }
}
