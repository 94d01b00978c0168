//! Builds from scratch.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs};
use crate::harness::Sandbox;

#[test]
fn tiny() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let imagefile = format!("{TINY}RUN echo to-stdout; echo to-stderr >&2\nRUN echo kept > /kept\n");
    let outcome = sandbox.build("t/1", &imagefile, &[]).exits(0);

    // Headings and stdout on stdout, in order; stderr apart.
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "Step 1/6 : FROM scratch");
    let run = lines.iter().position(|line| line.starts_with("Step 5/6 : RUN echo to-stdout")).unwrap();
    assert_eq!(lines[run + 1..], ["to-stdout", "Step 6/6 : RUN echo kept > /kept"]);
    assert!(outcome.stderr.lines().any(|line| line == "to-stderr"), "{outcome:?}");
    assert!(!outcome.stdout.contains("to-stderr\n") || lines[run].contains("to-stderr"), "{outcome:?}");

    let image = sandbox.backend().join("t%2F1");
    assert_eq!(fs::metadata(&image).unwrap().permissions().mode() & 0o222, 0, "images are read-only");
    assert!(sandbox.leftovers().is_empty());
    assert!(fs::read_dir(sandbox.path("tmp")).unwrap().next().is_none(), "nothing is left in TMPDIR");
    let list = sandbox.run(["image", "ls"]).exits(0);
    assert!(list.stdout.contains("\n t/1   256.00 MiB "), "{list:?}");

    let disk = Disk::open(&image);
    assert_eq!(disk.table["label"], "dos");
    assert_eq!(disk.entry(1)["bootable"], true);
    assert_eq!(disk.entry(1)["type"], "83");
    let root = disk.ext(1);
    assert_eq!(root.read("/kept"), "kept\n");
    root.is_roots("/kept", "regular", "0644");
    root.is_roots("/bin/busybox", "regular", "0755");
    root.is_roots("/tmp", "directory", "01777");
    assert!(root.stat("/bin/sh").contains("Fast link dest: \"busybox\""));
}

/// What RUN sees is checked from within: the first check that fails is the exit status.
#[test]
fn run_sees_its_own_namespaces() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write(
        "build/check.sh",
        r#"#!/bin/sh
[ "$(id -u)" = 0 ] || exit 10
# Kernel threads and the builder's own processes would be dozens.
[ "$(ls -d /proc/[0-9]* | wc -l)" -le 6 ] || exit 11
for mount in /proc /sys /dev /dev/pts /dev/shm /run /tmp; do
    grep -q " $mount " /proc/mounts || { echo "$mount" >&2; exit 12; }
done
for device in null zero full random urandom tty; do [ -c /dev/$device ] || exit 13; done
echo x > /dev/null && [ "$(head -c 2 /dev/zero | wc -c)" = 2 ] || exit 14
[ -e /dev/fd/0 ] && [ "$(readlink /proc/self)" -gt 0 ] || exit 15
echo x > /tmp/scratch && echo x > /run/scratch && echo x > /dev/shm/scratch || exit 16
[ "$(stat -c %a /tmp)" = 1777 ] || exit 17
[ "$(readlink /proc/1/root)" = / ] || exit 18
# Nothing waits for input.
cat > /dev/null || exit 19
"#,
    );
    let imagefile = format!("{TINY}COPY check.sh /check.sh\nRUN sh /check.sh\nRUN ls -A /run /dev/shm\n");
    let outcome = sandbox.build("checked", &imagefile, &[]).exits(0);
    assert!(!outcome.stdout.contains("scratch\n/"), "{outcome:?}");
    let root = Disk::open(&sandbox.backend().join("checked")).ext(1);
    for path in ["/run/scratch", "/tmp/scratch", "/proc/1"] {
        assert!(!root.has(path), "{path} is in the image");
    }
}

#[test]
fn run_sees_nothing_of_the_callers_environment() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox
        .write("build/Imagefile", format!("{TINY}RUN set; busybox env; cat /proc/1/environ /proc/cmdline\n"));
    let arguments = sandbox.build_arguments("e", &[]);
    let output = sandbox.command(arguments).env("CLOUD_TOKEN", "do-not-tell").output().unwrap();
    let outcome = sandbox.outcome(output).exits(0);
    assert!(outcome.stdout.contains("PATH=") && !outcome.stdout.contains("do-not-tell"), "{outcome:?}");
}

#[test]
fn background_processes_end_with_their_run() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let imagefile =
        format!("{TINY}RUN sleep 600 >/dev/null 2>&1 &\nRUN ps | grep -v grep | grep sleep; true\n");
    let outcome = sandbox.build("b", &imagefile, &[]).exits(0);
    assert!(outcome.stdout.ends_with("sleep; true\n"), "{outcome:?}");
}

#[test]
fn local() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let _ = sandbox.build("here", TINY, &["--local"]).exits(0);
    let root = Disk::open(&sandbox.path("build/here.qcow2")).ext(1);
    assert!(root.has("/bin/busybox"));
    assert!(!sandbox.backend().join("here").exists());
    let mut names: Vec<_> =
        fs::read_dir(sandbox.path("build")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["Imagefile", "here.qcow2", "rootfs.tar.gz"], "nothing else is left");
}

#[test]
fn an_image_of_that_name_is_replaced() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.empty_image("again", "1M");
    let _ = sandbox.build("again", TINY, &[]).exits(0);
    assert!(Disk::open(&sandbox.backend().join("again")).ext(1).has("/bin/busybox"));
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn the_imagefile_may_be_elsewhere() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write("elsewhere/Tiny", TINY);
    let arguments = sandbox.build_arguments("named", &["--file", "elsewhere/Tiny"]);
    let _ = sandbox.run(arguments).exits(0);
    assert!(sandbox.backend().join("named").exists());
}
