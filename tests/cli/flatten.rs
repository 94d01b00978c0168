//! How a finished disk becomes an image: compressed, compact, and not at all where the same image is there already.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use crate::disk::Disk;
use crate::fixture::with_tiny;
use crate::harness::{Outcome, Sandbox, host};

const IMAGEFILE: &str = "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
/// Neither QEMU nor `qemu-img`: what is built with it was neither booted nor flattened.
const NO_PROGRAMS: &str = "/nonexistent";

/// Builds without any program of the host.
fn build_without_programs(sandbox: &Sandbox, name: &str, more: &[&str]) -> Outcome {
    sandbox.write("build/Imagefile", IMAGEFILE);
    let mut command = sandbox.command(sandbox.build_arguments(name, more));
    sandbox.outcome(command.env("PATH", NO_PROGRAMS).output().unwrap())
}

fn without_layers(sandbox: &Sandbox) {
    let _ = sandbox.run(["cache", "prune"]).exits(0);
    assert_eq!(sandbox.run(["cache", "ls", "--format", "json"]).stdout.trim(), "[]");
}

fn id(sandbox: &Sandbox, name: &str) -> String {
    Disk::open(&sandbox.backend().join(name)).ext(1).read("/id")
}

fn info(image: &Path) -> Value {
    let text = host(["qemu-img", "info", "--output=json", image.to_str().unwrap()]);
    serde_json::from_str(&text).unwrap()
}

fn inode(sandbox: &Sandbox, name: &str) -> u64 {
    fs::metadata(sandbox.backend().join(name)).unwrap().ino()
}

#[test]
fn the_same_image_takes_neither_layers_nor_flattening() {
    let sandbox = with_tiny();
    let _ = sandbox.build("one", IMAGEFILE, &[]).exits(0);
    without_layers(&sandbox);
    for name in ["one", "two"] {
        let outcome = build_without_programs(&sandbox, name, &[]).exits(0);
        assert!(outcome.stdout.contains("> /id\nCACHED\n"), "{outcome:?}");
        assert_eq!(inode(&sandbox, name), inode(&sandbox, "one"));
    }
    let history = |name| sandbox.run(["image", "history", name]).exits(0).stdout;
    assert_eq!(history("two"), history("one"));
    assert_eq!(sandbox.leftovers().len(), 0);
    // What was made of it counts as much as what was flattened.
    let _ = sandbox.run(["image", "rm", "one"]).exits(0);
    let _ = build_without_programs(&sandbox, "three", &[]).exits(0);
    let _ = sandbox.run(["image", "tag", "three", "tagged"]).exits(0);
    let _ = sandbox.run(["image", "rm", "two", "three"]).exits(0);
    let _ = build_without_programs(&sandbox, "four", &[]).exits(0);
    // A file in a build directory is its owner's own.
    let _ = build_without_programs(&sandbox, "four", &["--local"]).exits(1);
}

#[test]
fn what_was_done_anew_counts_and_not_what_was_there_before() {
    let sandbox = with_tiny();
    let _ = sandbox.build("old", IMAGEFILE, &[]).exits(0);
    let _ = sandbox.build("new", IMAGEFILE, &["--no-cache"]).exits(0);
    assert_ne!(id(&sandbox, "old"), id(&sandbox, "new"));
    let _ = build_without_programs(&sandbox, "with", &[]).exits(0);
    without_layers(&sandbox);
    let _ = build_without_programs(&sandbox, "without", &[]).exits(0);
    for name in ["with", "without"] {
        assert_eq!(inode(&sandbox, name), inode(&sandbox, "new"), "{name}");
    }
}

#[test]
fn a_step_that_was_done_anew_has_nothing_old_above_it() {
    let sandbox = with_tiny();
    let first = "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /copy\n";
    let _ = sandbox.build("old", first, &[]).exits(0);
    let failing = first.replace("RUN cat /id > /copy", "RUN false");
    let _ = sandbox.build("new", &failing, &["--no-cache"]).exits(1);
    let outcome = sandbox.build("new", first, &["--progress", "json"]).exits(0);
    let events = outcome.json_lines();
    let finished = events.iter().filter(|event| event["event"] == "step-finished");
    assert_eq!(finished.map(|event| event["cached"] == true).collect::<Vec<_>>(), [false, true, false]);
    let root = Disk::open(&sandbox.backend().join("new")).ext(1);
    assert_eq!(root.read("/copy"), root.read("/id"));
    assert_ne!(root.read("/id"), id(&sandbox, "old"));
}

#[test]
fn an_image_that_was_altered_is_not_taken() {
    let sandbox = with_tiny();
    let alterations: [fn(&Path); 5] = [
        |image| set_mode(image, 0o644),
        |image| altered(image, |file| file.write_all_at(b"x", 9 << 16).unwrap()),
        |image| {
            let times = times(image);
            altered(image, |file| file.set_len(file.metadata().unwrap().len() + 512).unwrap());
            set_times(image, times);
        },
        // The same length and time, but another file.
        |image| {
            let (times, copy) = (times(image), image.with_file_name(".copy"));
            fs::copy(image, &copy).unwrap();
            set_times(&copy, times);
            fs::rename(copy, image).unwrap();
        },
        |image| fs::remove_file(image).unwrap(),
    ];
    for (number, alter) in alterations.iter().enumerate() {
        let _ = sandbox.build("it", IMAGEFILE, &[]).exits(0);
        without_layers(&sandbox);
        alter(&sandbox.backend().join("it"));
        let outcome = build_without_programs(&sandbox, "it", &[]);
        assert_eq!(outcome.code, Some(1), "{number}: {outcome:#?}");
        let _ = sandbox.run(["image", "rm", "it"]);
    }
}

fn set_mode(image: &Path, mode: u32) {
    fs::set_permissions(image, Permissions::from_mode(mode)).unwrap();
}

fn altered(image: &Path, alter: impl FnOnce(&File)) {
    set_mode(image, 0o644);
    alter(&File::options().write(true).open(image).unwrap());
    set_mode(image, 0o444);
}

fn times(image: &Path) -> FileTimes {
    FileTimes::new().set_modified(fs::metadata(image).unwrap().modified().unwrap())
}

fn set_times(image: &Path, times: FileTimes) {
    File::open(image).unwrap().set_times(times).unwrap();
}

#[test]
fn an_image_is_compressed_as_it_is_asked_for() {
    let sandbox = with_tiny();
    let size = |name: &str| fs::metadata(sandbox.backend().join(name)).unwrap().blocks();
    let _ = sandbox.build("none", IMAGEFILE, &[]).exits(0);
    for compression in ["zlib", "zstd"] {
        let arguments = ["--compress", compression];
        let _ = sandbox.build(compression, IMAGEFILE, &arguments).exits(0);
        let image = sandbox.backend().join(compression);
        assert_eq!(info(&image)["format-specific"]["data"]["compression-type"], compression);
        let checked = host(["qemu-img", "check", image.to_str().unwrap()]);
        assert!(!checked.contains(" 0.00% compressed"), "{checked}");
        assert!(size(compression) < size("none"), "{compression}");
        let _ = sandbox.run(["image", "check", compression]).exits(0);
        assert_eq!(id(&sandbox, compression), id(&sandbox, "none"));
        // The next one is the same, if it is compressed in the same way.
        let _ = build_without_programs(&sandbox, "again", &arguments).exits(0);
        assert_eq!(inode(&sandbox, "again"), inode(&sandbox, compression));
    }
    // Steps go on from a compressed image as from any other.
    let _ = sandbox.build("above", "FROM zstd\nRUN cat /id > /copy\n", &[]).exits(0);
    let above = Disk::open(&sandbox.backend().join("above")).ext(1);
    assert_eq!(above.read("/copy"), id(&sandbox, "zstd"));
    let _ = sandbox.build("x", IMAGEFILE, &["--compress", "gzip"]).exits(2).says(&["none, zlib, zstd"]);
}

#[test]
fn what_was_removed_takes_no_room() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN dd if=/dev/urandom of=/big bs=1M count=200\nRUN rm /big\nRUN true\n";
    let _ = sandbox.build("small", imagefile, &[]).exits(0);
    let real = info(&sandbox.backend().join("small"))["actual-size"].as_u64().unwrap();
    let base = info(&sandbox.backend().join("tiny"))["actual-size"].as_u64().unwrap();
    assert!(real < base + (4 << 20), "{real} bytes, of {base} before");
}
