mod names;
mod pruning;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::thread;

use super::*;
use crate::event::Event;
use crate::process::qemu_img;

/// A store in a folder of its own, without any folders in it.
pub(super) struct Fixture {
    folder: tempfile::TempDir,
    pub(super) store: Store,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(Locations::below(folder.path()));
        Self { folder, store }
    }

    pub(super) fn backend(&self) -> &Path {
        &self.store.locations.backend
    }

    /// Puts an image there as release 0.25 does.
    pub(super) fn image(&self, encoded: &str, size: u64) -> PathBuf {
        fs::create_dir_all(self.backend().join(".working")).expect("made");
        let path = self.backend().join(encoded);
        qemu_img::create_empty(&path, size, &CancelToken::new()).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("set");
        path
    }

    /// Makes a VM with a disk on an image, as release 0.25 does.
    pub(super) fn vm(&self, encoded: &str, number: u32, image: &Path) -> PathBuf {
        let folder = self.store.locations.vmstore.join(encoded);
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("config"), "name = \"x\"\n").expect("written");
        let of = image.file_name().expect("a name").to_str().expect("UTF-8");
        let disk = folder.join(format!("{encoded}-{number}-{of}"));
        qemu_img::create_overlay(&disk, image, &CancelToken::new()).expect("made");
        disk
    }

    pub(super) fn reserve(&self, image: &str) -> Result<Reservation, Error> {
        self.store.reserve(&name(image), None, &quiet(), &CancelToken::new())
    }

    fn names(&self) -> Vec<String> {
        let listing = self.store.images().expect("readable");
        listing.images.into_iter().map(|image| image.name).collect()
    }

    /// All files and folders in the working folder.
    pub(super) fn working(&self) -> Vec<String> {
        let entries = fs::read_dir(self.backend().join(".working")).expect("readable");
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
    }
}

pub(super) fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a valid name")
}

fn quiet() -> Reporter {
    Reporter::channel().0
}

pub(super) fn disk(reservation: &Reservation, size: u64) -> PathBuf {
    let path = reservation.folder().join("disk");
    qemu_img::create_empty(&path, size, &CancelToken::new()).expect("made");
    path
}

#[test]
fn nothing_there_is_an_empty_store_and_stays_nothing() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.images().expect("readable"), Listing::default());
    assert_eq!(fixture.store.image(&name("x")).expect("readable"), None);
    assert!(fixture.store.vms_using(&name("x")).expect("readable").is_empty());
    assert!(fixture.store.remove(&[name("x")], false).is_err());
    assert_eq!(fs::read_dir(fixture.folder.path()).expect("readable").count(), 0);
}

#[test]
fn a_store_of_release_0_25_is_read_as_it_is() {
    let fixture = Fixture::new();
    let centos = fixture.image("centos%2F7%3A2004.01", 40 << 30);
    fixture.image("plain_image~1", 1 << 30);
    fixture.image("b%C3%A4r%2Dnew", 1 << 20);
    // A retrieval in work, and one that died while it converted.
    fs::write(fixture.backend().join(".working/centos%2F8"), [1; 100]).expect("written");
    fs::write(fixture.backend().join(".working/0b2d-77"), "").expect("written");
    fixture.vm("my%2Dvm", 0, &centos);
    fixture.vm("web", 1, &centos);
    fs::create_dir(fixture.store.locations.vmstore.join(".tmpab12")).expect("made");

    let listing = fixture.store.images().expect("readable");
    assert_eq!(listing.warnings, Vec::<String>::new());
    let seen: Vec<_> = listing.images.iter().map(|image| (image.name.as_str(), image.virtual_size)).collect();
    assert_eq!(seen, [("bär-new", 1 << 20), ("centos/7:2004.01", 40 << 30), ("plain_image~1", 1 << 30)]);
    let image = &listing.images[1];
    assert_eq!(image.path, centos);
    assert_eq!(image.real_size, fs::metadata(&centos).expect("there").blocks() * 512);
    assert_eq!(fixture.store.image(&name("centos/7:2004.01")).expect("readable").as_ref(), Some(image));
    assert_eq!(fixture.store.vms_using(&name("centos/7:2004.01")).expect("readable"), ["my-vm", "web"]);
    assert!(fixture.store.vms_using(&name("bär-new")).expect("readable").is_empty());
    // A build leaves alone what that release may still be at work on.
    drop(fixture.reserve("other").expect("free"));
    assert_eq!(fixture.working().len(), 2);
}

#[test]
fn what_is_no_image_is_a_warning_or_nothing() {
    let fixture = Fixture::new();
    let good = fixture.image("good", 1 << 20);
    let at = |name: &str| fixture.backend().join(name);
    fs::write(at("text"), "no image").expect("written");
    fs::write(at("a-b"), "not looked at").expect("written");
    fs::write(at(".hidden"), "not looked at").expect("written");
    fs::create_dir(at("folder")).expect("made");
    std::os::unix::fs::symlink("nowhere", at("dangling")).expect("made");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("runs").success());
    qemu_img::create_overlay(&at("overlay"), &good, &CancelToken::new()).expect("made");
    let listing = fixture.store.images().expect("readable");
    assert_eq!(fixture.names(), ["good"]);
    assert_eq!(listing.warnings.len(), 2, "{:?}", listing.warnings);
    assert!(listing.warnings[0].contains("overlay' is no standalone qcow2 image: "));
    assert!(listing.warnings[1].contains("text' is no standalone qcow2 image: "));
    let error = fixture.store.image(&name("overlay")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
}

#[test]
fn a_backend_that_is_a_file_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    fs::write(fixture.backend(), "").expect("written");
    let error = fixture.store.images().expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.report().contains(&fixture.backend().display().to_string()));
    assert_eq!(fixture.reserve("x").expect_err("no folder").kind(), ErrorKind::Io);
}

#[test]
fn a_disk_uses_what_it_stands_on() {
    let fixture = Fixture::new();
    let ours = fixture.image("same", 1 << 20);
    let elsewhere = fixture.folder.path().join("same");
    fs::copy(&ours, &elsewhere).expect("copied");
    fixture.vm("a", 0, &ours);
    fixture.vm("b", 0, &elsewhere);
    // Not readable as a disk: its name decides.
    fs::create_dir(fixture.store.locations.vmstore.join("c")).expect("made");
    fs::write(fixture.store.locations.vmstore.join("c/c-0-same"), "?").expect("written");
    fs::write(fixture.store.locations.vmstore.join("c/c-1-other"), "?").expect("written");
    fs::write(fixture.store.locations.vmstore.join("stray file"), "").expect("written");
    assert_eq!(fixture.store.vms_using(&name("same")).expect("readable"), ["a", "c"]);
}

#[test]
fn removing_is_all_or_none() {
    let fixture = Fixture::new();
    fixture.image("one", 1 << 20);
    let two = fixture.image("two", 1 << 20);
    let error = fixture.store.remove(&[name("one"), name("three")], true).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::ImageNotFound);
    assert_eq!(error.to_string(), "No image in backend with name 'three'");
    assert_eq!(fixture.names(), ["one", "two"]);

    fixture.vm("vm", 0, &two);
    fixture.vm("it's", 0, &two);
    let error = fixture.store.remove(&[name("one"), name("two")], false).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::ImageInUse);
    assert_eq!(error.to_string(), "Backend 'two' is in use by [\"it's\", 'vm']");
    assert_eq!(error.vms(), ["it's", "vm"]);
    assert_eq!(fixture.names(), ["one", "two"]);

    let warnings = fixture.store.remove(&[name("two"), name("one"), name("one")], true).expect("removed");
    assert_eq!(warnings, ["Backend 'two' is in use by [\"it's\", 'vm']"]);
    assert!(fixture.names().is_empty());
}

#[test]
fn a_broken_image_can_be_removed_but_no_folder_can() {
    let fixture = Fixture::new();
    fixture.image("good", 1 << 20);
    fs::write(fixture.backend().join("broken"), "no image").expect("written");
    assert!(fixture.store.remove(&[name("broken")], false).expect("removed").is_empty());
    assert!(!fixture.backend().join("broken").exists());
    let error = fixture.store.remove(&[name(".working")], true).expect_err("a folder");
    assert_eq!(error.kind(), ErrorKind::ImageNotFound);
}

#[test]
fn names_are_quoted_as_scripts_know_it() {
    for (name, expected) in
        [("a", "'a'"), ("it's", "\"it's\""), ("'\"", "'\\'\"'"), ("\\\n\x01ä", "'\\\\\\n\\x01ä'")]
    {
        assert_eq!(quoted(name), expected);
    }
}

#[test]
fn a_commit_makes_a_read_only_image_and_leaves_nothing() {
    let fixture = Fixture::new();
    let reservation = fixture.reserve("new/one").expect("free");
    let file = disk(&reservation, 5 << 20);
    assert!(fixture.names().is_empty(), "not seen before it is whole");
    let image = reservation.commit(&file).expect("committed");
    assert_eq!(image.path, fixture.backend().join("new%2Fone"));
    assert_eq!((image.name.as_str(), image.virtual_size), ("new/one", 5 << 20));
    let seen = fixture.store.image(&name("new/one")).expect("readable").expect("there");
    assert_eq!((seen.path, seen.virtual_size), (image.path.clone(), 5 << 20));
    assert_eq!(fs::metadata(&image.path).expect("there").mode() & 0o7777, 0o444);
    assert!(fixture.working().is_empty());
}

#[test]
fn a_dropped_reservation_leaves_nothing() {
    let fixture = Fixture::new();
    let reservation = fixture.reserve("new").expect("free");
    disk(&reservation, 1 << 20);
    drop(reservation);
    assert!(fixture.working().is_empty() && fixture.names().is_empty());
}

#[test]
fn only_a_standalone_qcow2_file_is_committed() {
    let fixture = Fixture::new();
    let old = fixture.image("old", 1 << 20);
    let reservation = fixture.reserve("old").expect("free");
    let file = reservation.folder().join("disk");
    qemu_img::create_overlay(&file, &old, &CancelToken::new()).expect("made");
    assert_eq!(reservation.commit(&file).expect_err("an overlay").kind(), ErrorKind::InvalidImage);
    let reservation = fixture.reserve("old").expect("free");
    let file = reservation.folder().join("disk");
    fs::write(&file, "text").expect("written");
    assert_eq!(reservation.commit(&file).expect_err("a text").kind(), ErrorKind::InvalidImage);
    assert!(fixture.working().is_empty());
    assert_eq!(fixture.names(), ["old"]);
}

#[test]
fn an_image_is_replaced_unless_a_vm_has_a_disk_on_it() {
    let fixture = Fixture::new();
    let path = fixture.image("it", 1 << 20);
    let reservation = fixture.reserve("it").expect("free");
    let file = disk(&reservation, 2 << 20);
    assert_eq!(reservation.commit(&file).expect("replaced").virtual_size, 2 << 20);

    // A VM that comes while the build is at work is seen at the end.
    let reservation = fixture.reserve("it").expect("free");
    let file = disk(&reservation, 3 << 20);
    fixture.vm("vm", 0, &path);
    let error = reservation.commit(&file).expect_err("in use");
    assert_eq!((error.kind(), error.vms()), (ErrorKind::ImageInUse, &["vm".to_owned()][..]));
    assert_eq!(fixture.reserve("it").expect_err("in use").kind(), ErrorKind::ImageInUse);
    assert!(fixture.working().is_empty());
    let image = fixture.store.image(&name("it")).expect("readable").expect("there");
    assert_eq!(image.virtual_size, 2 << 20);
}

#[test]
fn one_name_is_reserved_once_at_a_time() {
    let fixture = Fixture::new();
    let first = fixture.reserve("same").expect("free");
    let _other = fixture.reserve("other").expect("another name is free");
    let (reporter, events) = Reporter::channel();
    thread::scope(|scope| {
        let cancel = CancelToken::new();
        let store = &fixture.store;
        let second = scope.spawn(move || store.reserve(&name("same"), None, &reporter, &cancel));
        let event = events.recv_blocking().expect("an event");
        assert!(matches!(&event, Event::Note { message } if message.ends_with("image 'same'")), "{event:?}");
        assert!(!second.is_finished());
        let file = disk(&first, 1 << 20);
        first.commit(&file).expect("committed");
        second.join().expect("no panic").expect("free now");
    });
}

#[test]
fn a_sweep_removes_what_the_dead_left_and_spares_the_living() {
    let fixture = Fixture::new();
    let living = fixture.reserve("living").expect("free");
    let dead = fixture.backend().join(".working/.build-dead00");
    fs::create_dir(&dead).expect("made");
    fs::write(dead.join(".lock"), "4711\n").expect("written");
    fs::write(dead.join("disk"), "half").expect("written");
    fs::write(fixture.backend().join(".working/dead"), "4711\n").expect("written");
    drop(fixture.reserve("next").expect("free"));
    assert!(living.folder().exists());
    assert!(!dead.exists());
    let mut working = fixture.working();
    working.retain(|name| !name.starts_with(".build-"));
    assert_eq!(working, ["living"]);
}

#[test]
fn a_local_image_goes_into_the_build_directory() {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().expect("a folder");
    let dead = folder.path().join(".my-image.working-dead00");
    fs::create_dir(&dead).expect("made");
    fs::write(dead.join(".lock"), "4711\n").expect("written");
    let reserve =
        |text: &str| fixture.store.reserve(&name(text), Some(folder.path()), &quiet(), &CancelToken::new());
    let reservation = reserve("my-image").expect("free");
    assert!(!dead.exists());
    let file = disk(&reservation, 1 << 20);
    let image = reservation.commit(&file).expect("committed");
    assert_eq!(image.path, folder.path().join("my-image.qcow2"));
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    assert!(!fixture.backend().exists(), "the backend is not touched");
    for bad in ["a/b".to_owned(), "x".repeat(245)] {
        assert_eq!(reserve(&bad).expect_err("no file name").kind(), ErrorKind::InvalidImageName);
    }
}

#[test]
fn a_name_that_would_be_hidden_is_refused() {
    let fixture = Fixture::new();
    assert_eq!(fixture.reserve(".x").expect_err("hidden").kind(), ErrorKind::InvalidImageName);
    assert_eq!(fixture.store.image(&name(".x")).expect("readable"), None);
}

#[test]
fn a_thousand_images_are_listed_at_once() {
    let fixture = Fixture::new();
    let first = fixture.image("image0000", 1 << 20);
    for number in 1..1000 {
        fs::copy(&first, fixture.backend().join(format!("image{number:04}"))).expect("copied");
    }
    let names = fixture.names();
    assert_eq!(names.len(), 1000);
    assert!(names.is_sorted());
}
