//! Tagging.

use std::os::unix::fs::symlink;

use super::*;

fn tag_as(fixture: &Fixture, source: &str, new: &str, replace: bool) -> Result<Image, Error> {
    tag(&fixture.store, &name(source), &name(new), replace, &mut |_| {}, &CancelToken::new())
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("there").ino()
}

#[test]
fn a_tag_is_the_same_file_and_goes_alone() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    let image = tag_as(&fixture, "one", "team/two", false).expect("tagged");
    assert_eq!((image.name.as_str(), image.virtual_size), ("team/two", 1 << 20));
    assert_eq!(image.path, fixture.backend().join("team%2Ftwo"));
    assert_eq!((inode(&image.path), fs::metadata(&one).expect("there").nlink()), (inode(&one), 2));
    assert_eq!(fixture.names(), ["one", "team/two"]);
    assert!(fixture.working().is_empty());
    fixture.store.remove(&[name("one")], false).expect("removed");
    assert_eq!(fixture.names(), ["team/two"]);
    assert_eq!(fs::metadata(&image.path).expect("there").mode() & 0o7777, 0o444);
}

#[test]
fn nothing_of_the_file_changes() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    // Nobody else is to read it.
    fs::set_permissions(&one, fs::Permissions::from_mode(0o400)).expect("set");
    let before = fs::metadata(&one).expect("there");
    tag_as(&fixture, "one", "two", false).expect("tagged");
    let bytes = fs::read(&one).expect("readable");
    // Another image in the place of one name is another file.
    let reservation = fixture.reserve("two").expect("free");
    let file = disk(&reservation, 2 << 20);
    reservation.commit(&file).expect("replaced");
    let after = fs::metadata(&one).expect("there");
    assert_eq!((after.mode(), after.mtime_nsec()), (before.mode(), before.mtime_nsec()));
    assert_eq!(fs::read(&one).expect("readable"), bytes);
    assert_ne!(inode(&fixture.backend().join("two")), inode(&one));
}

#[test]
fn what_can_be_written_to_is_copied() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).expect("set");
    let two = tag_as(&fixture, "one", "two", false).expect("tagged").path;
    assert_ne!(inode(&two), inode(&one));
    assert_eq!(fs::read(&two).expect("readable"), fs::read(&one).expect("readable"));
    assert_eq!(fs::metadata(&one).expect("there").mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(&two).expect("there").mode() & 0o7777, 0o444);
}

#[test]
fn a_symbolic_link_is_followed() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(&one, &elsewhere).expect("moved");
    symlink(&elsewhere, &one).expect("made");
    let two = tag_as(&fixture, "one", "two", false).expect("tagged").path;
    assert!(fs::symlink_metadata(&two).expect("there").is_file());
    assert_eq!(inode(&two), inode(&elsewhere));
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    let two = fixture.image("two", 2 << 20);
    let error = tag_as(&fixture, "one", "two", false).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::ImageExists);
    assert_eq!(error.to_string(), "An image with the name 'two' already exists");
    let error = tag_as(&fixture, "three", "four", false).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::ImageNotFound);
    assert_eq!(error.to_string(), "No image in backend with name 'three'");
    assert_eq!(inode(&tag_as(&fixture, "one", "two", true).expect("replaced").path), inode(&one));
    // Once more, and to itself: there is nothing to do.
    tag_as(&fixture, "one", "two", true).expect("tagged");
    tag_as(&fixture, "one", "one", true).expect("tagged");
    assert!(tag_as(&fixture, "one", "one", false).is_err());
    assert_eq!((fixture.names().len(), inode(&two)), (2, inode(&one)));
    assert!(fixture.working().is_empty());
}

#[test]
fn a_vm_is_on_one_name() {
    let fixture = Fixture::new();
    fixture.image("one", 1 << 20);
    let two = tag_as(&fixture, "one", "two", false).expect("tagged").path;
    fixture.vm("vm", 0, &two);
    assert!(fixture.store.vms_using(&name("one")).expect("readable").is_empty());
    assert_eq!(fixture.store.vms_using(&name("two")).expect("readable"), ["vm"]);
    fixture.image("three", 2 << 20);
    for replace in [true, false] {
        let error = tag_as(&fixture, "three", "two", replace).expect_err("refused");
        let kind = if replace { ErrorKind::ImageInUse } else { ErrorKind::ImageExists };
        assert_eq!(error.kind(), kind);
    }
    fixture.store.remove(&[name("one")], false).expect("removed");
    assert_eq!(fixture.names(), ["three", "two"]);
}

#[test]
fn a_name_in_work_is_waited_for() {
    let fixture = Fixture::new();
    fixture.image("one", 1 << 20);
    let first = fixture.reserve("two").expect("free");
    let (sender, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let store = &fixture.store;
        let mut listener = move |event| sender.send(event).expect("heard");
        let tagging = scope
            .spawn(move || tag(store, &name("one"), &name("two"), false, &mut listener, &CancelToken::new()));
        let event = told.recv().expect("an event");
        assert!(matches!(&event, Event::Note { message } if message.ends_with("image 'two'")), "{event:?}");
        let file = disk(&first, 2 << 20);
        first.commit(&file).expect("committed");
        let error = tagging.join().expect("no panic").expect_err("made meanwhile");
        assert_eq!(error.kind(), ErrorKind::ImageExists);
    });
}
