//! Pruning.

use std::time::Duration;

use super::*;

const ALL: fn(&mut PruneOptions) = |options| options.all = true;

fn prune(fixture: &Fixture, change: impl FnOnce(&mut PruneOptions)) -> Pruned {
    let mut options = PruneOptions::default();
    change(&mut options);
    fixture.store.prune(&options).expect("pruned")
}

fn names(pruned: &Pruned) -> Vec<&str> {
    pruned.images.iter().map(|image| image.name.as_str()).collect()
}

fn occupied(path: &Path) -> u64 {
    fs::metadata(path).expect("there").blocks() * 512
}

#[test]
fn nothing_there_is_nothing_to_prune() {
    let fixture = Fixture::new();
    assert_eq!(prune(&fixture, ALL), Pruned::default());
    assert_eq!(fs::read_dir(fixture.folder.path()).expect("readable").count(), 0);
}

#[test]
fn abandoned_work_goes_and_that_of_the_living_stays() {
    let fixture = Fixture::new();
    fixture.image("image", 1 << 20);
    let living = fixture.reserve("living").expect("free");
    let working = fixture.backend().join(".working");
    let dead = working.join(".build-dead00");
    fs::create_dir_all(dead.join("sub")).expect("made");
    fs::write(dead.join(".lock"), "4711\n").expect("written");
    fs::write(dead.join("sub/disk"), vec![1; 1 << 20]).expect("written");
    // The image's other name there frees nothing.
    fs::hard_link(fixture.backend().join("image"), dead.join("base.qcow2")).expect("linked");
    fs::write(working.join("dead"), "4711\n").expect("written");
    fs::write(working.join("of%2Fanother%2Drelease"), [1; 100]).expect("written");
    let expected =
        occupied(&dead.join(".lock")) + occupied(&dead.join("sub/disk")) + occupied(&working.join("dead"));

    let seen = prune(&fixture, |options| options.dry_run = true);
    assert!(dead.join(".lock").exists() && working.join("dead").exists(), "nothing changed");
    let pruned = prune(&fixture, |_| {});
    assert_eq!(seen, pruned);
    assert_eq!(pruned.leftovers, [dead.clone(), working.join("dead")]);
    assert_eq!(pruned.freed, expected);
    assert!(living.folder().exists() && working.join("living").exists());
    assert!(!dead.exists() && !working.join("dead").exists());
    assert!(working.join("of%2Fanother%2Drelease").exists());
    assert_eq!(fixture.names(), ["image"]);
}

#[test]
fn images_that_no_vm_uses_go_only_when_asked() {
    let fixture = Fixture::new();
    let plain = fixture.image("plain", 1 << 20);
    let used = fixture.image("used", 1 << 20);
    let new = fixture.image("new", 1 << 20);
    fixture.vm("vm", 0, &used);
    // A VM that is being made counts as well.
    fixture.vm(".tmpab12", 0, &new);
    fs::write(fixture.backend().join("broken"), "no image").expect("written");
    let size = occupied(&plain);
    assert_eq!(names(&prune(&fixture, |_| {})), Vec::<&str>::new());
    let seen = prune(&fixture, |options| (options.all, options.dry_run) = (true, true));
    assert_eq!(fixture.names(), ["new", "plain", "used"]);
    let pruned = prune(&fixture, ALL);
    assert_eq!((names(&pruned), pruned.freed), (vec!["plain"], size));
    assert_eq!(seen, pruned);
    assert_eq!(pruned.warnings.len(), 1, "{:?}", pruned.warnings);
    assert_eq!(fixture.names(), ["new", "used"]);
    assert!(fixture.working().is_empty());
}

#[test]
fn an_image_with_two_names_is_freed_with_the_last() {
    let fixture = Fixture::new();
    let one = fixture.image("one", 1 << 20);
    let tag_as = |new: &str| {
        tag(&fixture.store, &name("one"), &name(new), false, &mut |_| {}, &CancelToken::new())
            .expect("tagged")
    };
    let two = tag_as("two").path;
    fixture.vm("vm", 0, &two);
    let size = occupied(&one);
    let pruned = prune(&fixture, ALL);
    assert_eq!((names(&pruned), pruned.freed), (vec!["one"], 0));
    fs::remove_dir_all(&fixture.store.locations.vmstore).expect("removed");
    tag(&fixture.store, &name("two"), &name("three"), false, &mut |_| {}, &CancelToken::new())
        .expect("tagged");
    let pruned = prune(&fixture, ALL);
    assert_eq!((names(&pruned), pruned.freed), (vec!["three", "two"], size));
}

#[test]
fn a_name_in_work_is_left_alone() {
    let fixture = Fixture::new();
    fixture.image("busy", 1 << 20);
    let reservation = fixture.reserve("busy").expect("free");
    for dry_run in [true, false] {
        let pruned = prune(&fixture, |options| (options.all, options.dry_run) = (true, dry_run));
        assert!(names(&pruned).is_empty());
    }
    drop(reservation);
    assert_eq!(names(&prune(&fixture, ALL)), ["busy"]);
}

#[test]
fn young_images_stay() {
    let fixture = Fixture::new();
    let hour = Duration::from_secs(3600);
    for (image, made) in [("old", -2_i32), ("young", 0), ("future", 2)] {
        let path = fixture.image(image, 1 << 20);
        let now = std::time::SystemTime::now();
        let made = if made < 0 { now - 2 * hour } else { now + hour * made.unsigned_abs() };
        fs::File::open(path).expect("there").set_modified(made).expect("set");
    }
    let pruned = prune(&fixture, |options| (options.all, options.older_than) = (true, Some(hour)));
    assert_eq!(names(&pruned), ["old"]);
    assert_eq!(fixture.names(), ["future", "young"]);
}

#[test]
fn many_at_once_leave_a_whole_store() {
    let fixture = Fixture::new();
    let base = fixture.image("base", 1 << 20);
    fixture.vm("vm", 0, &base);
    let tag_as =
        |new: &str| tag(&fixture.store, &name("base"), &name(new), true, &mut |_| {}, &CancelToken::new());
    thread::scope(|scope| {
        for new in ["a", "b"] {
            let tag_as = &tag_as;
            scope.spawn(move || (0..40).for_each(|_| drop(tag_as(new).expect("tagged"))));
        }
        for _ in 0..2 {
            scope.spawn(|| (0..40).for_each(|_| drop(prune(&fixture, ALL))));
        }
        scope.spawn(|| {
            for _ in 0..40 {
                let listing = fixture.store.images().expect("readable");
                assert_eq!(listing.warnings, Vec::<String>::new());
                assert!(listing.images.iter().any(|image| image.name == "base"));
            }
        });
    });
    drop(prune(&fixture, ALL));
    assert_eq!(fixture.names(), ["base"]);
    assert!(fixture.working().is_empty(), "{:?}", fixture.working());
    assert_eq!(fs::metadata(&base).expect("there").nlink(), 1);
}
