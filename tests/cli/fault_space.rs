//! A disk of the host that is full, at each stage of a pull and of a build; and one that is read-only.

use std::fs;
use std::process::Command;

use snapbox::{assert_data_eq, str};

use crate::fixture::{random, with_tiny};
use crate::harness::{Sandbox, host};
use crate::mounts::{Attempted, Attempts};

/// Fills the filesystem, but for so many KiB.
fn fill(but: u32) -> String {
    format!(
        "mkdir -p small/.working; head -c {but}K /dev/zero > small/room\n\
         cat /dev/zero > small/fill 2> /dev/null || true; rm small/room"
    )
}

const FREE: &str = "rm -f small/fill; mount -o remount,size=256m small";

fn pull(sandbox: &Sandbox, spec: &str) -> Command {
    sandbox.command(["image", "pull", spec, "--image-backend", "small"])
}

/// Fails unless the first attempt failed so that there is nothing of it, and the second made the image.
#[track_caller]
fn mended(attempted: &Attempted, name: &str, before: &[&str]) {
    let Attempted { failed, left, again, there } = attempted;
    assert_eq!(failed.code, Some(1), "{attempted:#?}");
    assert_eq!(left.lines().collect::<Vec<_>>(), before, "{attempted:#?}");
    assert_eq!(again.code, Some(0), "{attempted:#?}");
    let mut expected: Vec<_> = before.iter().map(|path| path.to_string()).collect();
    expected.retain(|path| path != "small/fill");
    expected.push(format!("small/{name}"));
    expected.sort();
    assert_eq!(there.lines().collect::<Vec<_>>(), expected, "{attempted:#?}");
}

#[test]
fn full_before_a_pull() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), random(1 << 20)).unwrap();
    let attempts = Attempts { size: "1m", before: &fill(0), mend: FREE };
    let attempted = attempts.of(&sandbox, &pull(&sandbox, "new,file=disk"));
    mended(&attempted, "new", &["small/fill"]);
    assert_data_eq!(
        &attempted.failed.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: cannot lock 'small/.working/new': No space left on device (os error 28)
hint: free some space on that disk, or choose a backend on another one

"#]]
    );
}

#[test]
fn full_while_a_pull_unpacks() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), random(8 << 20)).unwrap();
    host(["gzip", "-1", sandbox.path("disk").to_str().unwrap()]);
    let attempts = Attempts { size: "4m", before: "", mend: FREE };
    let attempted = attempts.of(&sandbox, &pull(&sandbox, "new,file=disk.gz"));
    mended(&attempted, "new", &[]);
    assert_data_eq!(
        &attempted.failed.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: cannot write '[ROOT]/small/.working/.build-[..]/unpacked': No space left on device (os error 28)
hint: free some space on that disk, or choose a backend on another one

"#]]
    );
}

#[test]
fn full_while_a_pull_converts() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), random(8 << 20)).unwrap();
    let attempts = Attempts { size: "4m", before: "", mend: FREE };
    let attempted = attempts.of(&sandbox, &pull(&sandbox, "new,file=disk"));
    mended(&attempted, "new", &[]);
    assert_data_eq!(
        &attempted.failed.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: 'qemu-img' failed (exit status: 1): qemu-img: error while writing at byte 2097152: No space left on device
hint: free some space on the disk, or use another one

"#]]
    );
}

#[test]
fn full_where_temporary_files_go() {
    // Nothing of a pull goes there.
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), random(8 << 20)).unwrap();
    host(["gzip", "-1", sandbox.path("disk").to_str().unwrap()]);
    let mut command = sandbox.command(["image", "pull", "new,file=disk.gz"]);
    command.env("TMPDIR", "small");
    let attempted = Attempts { size: "64k", before: &fill(0), mend: "" }.of(&sandbox, &command);
    assert_eq!(attempted.failed.code, Some(0), "{attempted:#?}");
}

fn build(sandbox: &Sandbox, imagefile: &str) -> Command {
    sandbox.write("build/Imagefile", imagefile);
    let mut arguments = sandbox.build_arguments("new", &["--progress", "json"]);
    arguments.extend(["--image-backend", "small"]);
    let mut command = sandbox.command(arguments);
    command.env("TINY", sandbox.backend().join("tiny"));
    // All that a build makes is on the small disk, as it is in the home of a user.
    command.env("TRANSIENT_CACHE", "small/cache").env("CACHE", sandbox.cache());
    command
}

/// Fails unless the build came to this step, and the error is that the disk is full.
#[track_caller]
fn is_full(attempted: &Attempted, step: u64) {
    let lines = attempted.failed.json_lines();
    let error = &lines.last().unwrap()["error"];
    assert_eq!(error["kind"], "host-disk-full", "{attempted:#?}");
    assert!(error["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{error}");
    let begun = lines.iter().rfind(|line| line["event"] == "step-started");
    assert_eq!(begun.unwrap()["step"], step, "{attempted:#?}");
}

const ON_TINY: &str = "cp \"$TINY\" small/tiny; cp -r \"$CACHE\" small/cache; rm -rf small/cache/layers";

#[test]
fn full_before_a_build() {
    let sandbox = with_tiny();
    let before = format!("{ON_TINY}; {}", fill(0));
    // That the next attempt works then is seen below.
    let attempts = Attempts { size: "16m", before: &before, mend: "" };
    let attempted = attempts.of(&sandbox, &build(&sandbox, "FROM tiny\nRUN true\n"));
    assert_eq!((attempted.failed.code, attempted.left.trim()), (Some(1), "small/fill\nsmall/tiny"));
    is_full(&attempted, 1);
}

#[test]
fn full_when_a_build_makes_its_disk() {
    let sandbox = with_tiny();
    let before = format!("{ON_TINY}; {}", fill(64));
    let attempts = Attempts { size: "16m", before: &before, mend: FREE };
    let attempted = attempts.of(&sandbox, &build(&sandbox, "FROM tiny\nRUN true\n"));
    mended(&attempted, "new", &["small/fill", "small/tiny"]);
    is_full(&attempted, 2);
}

#[test]
fn full_in_a_step_of_a_build() {
    let sandbox = with_tiny();
    sandbox.write("build/big", random(64 << 20));
    let attempts = Attempts { size: "32m", before: ON_TINY, mend: FREE };
    let attempted = attempts.of(&sandbox, &build(&sandbox, "FROM tiny\nCOPY big /big\n"));
    mended(&attempted, "new", &["small/tiny"]);
    is_full(&attempted, 2);
}

#[test]
fn full_while_a_build_writes_its_image() {
    let sandbox = with_tiny();
    sandbox.write("build/big", random(20 << 20));
    let attempts = Attempts { size: "40m", before: ON_TINY, mend: FREE };
    let attempted = attempts.of(&sandbox, &build(&sandbox, "FROM tiny\nCOPY big /big\n"));
    mended(&attempted, "new", &["small/tiny"]);
    is_full(&attempted, 2);
    let lines = attempted.failed.json_lines();
    assert_eq!(
        lines.iter().filter(|line| line["event"] == "step-finished").count(),
        2,
        "all steps were done"
    );
}

#[test]
fn a_read_only_backend() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), random(1 << 20)).unwrap();
    sandbox.empty_image("there", "1M");
    let mut command = pull(&sandbox, "new,file=disk");
    command.env("THERE", sandbox.backend().join("there"));
    let before = "cp \"$THERE\" small/there; mount -o remount,ro small";
    let attempts = Attempts { size: "8m", before, mend: "mount -o remount,rw small" };
    let attempted = attempts.of(&sandbox, &command);
    mended(&attempted, "new", &["small/there"]);
    assert_data_eq!(
        &attempted.failed.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: cannot make the folder 'small/.working': Read-only file system (os error 30)
hint: the filesystem is read-only; choose another backend

"#]]
    );
}

/// What only reads works there, also the pull of an image that is there.
#[test]
fn reading_in_a_read_only_backend() {
    for arguments in [&["ls"][..], &["pull", "there"]] {
        let sandbox = Sandbox::new();
        sandbox.empty_image("there", "1M");
        let mut command = sandbox.command([&["image"], arguments, &["--image-backend", "small"]].concat());
        command.env("THERE", sandbox.backend().join("there"));
        let before = "cp \"$THERE\" small/there; mount -o remount,ro small";
        let attempted = Attempts { size: "8m", before, mend: "" }.of(&sandbox, &command);
        assert_eq!(attempted.failed.code, Some(0), "{attempted:#?}");
    }
}

#[test]
fn removing_from_a_read_only_backend() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("there", "1M");
    let mut command = sandbox.command(["image", "rm", "there", "--image-backend", "small"]);
    command.env("THERE", sandbox.backend().join("there"));
    let before = "cp \"$THERE\" small/there; mount -o remount,ro small";
    let attempted = Attempts { size: "8m", before, mend: "mount -o remount,rw small" }.of(&sandbox, &command);
    assert_eq!((attempted.failed.code, attempted.left.trim()), (Some(1), "small/there"));
    assert_eq!((attempted.again.code, attempted.there.trim()), (Some(0), ""));
    assert_data_eq!(
        &attempted.failed.stderr,
        str![[r#"
error: cannot remove 'small/there': Read-only file system (os error 30)
hint: the filesystem is read-only; choose another backend

"#]]
    );
}
