//! Builds that are refused before anything boots: no QEMU is there that could be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::fixture::{TINY, rootfs};
use crate::harness::{Outcome, Sandbox};

/// Builds with a QEMU that leaves a mark when it is started.
fn refused(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let qemu =
        sandbox.write("bin/qemu-system-x86_64", "#!/bin/sh\necho started >> \"$HOME/started\"\nexit 1\n");
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let mut arguments = sandbox.build_arguments("new", more);
    arguments.extend(["--qemu-bin-name", qemu.to_str().unwrap()]);
    let outcome = sandbox.run(arguments).exits(1);
    assert!(!sandbox.path("home/started").exists(), "QEMU was started: {outcome:?}");
    assert!(!sandbox.backend().join("new").exists());
    assert!(sandbox.leftovers().is_empty());
    outcome
}

#[test]
fn every_error_of_an_imagefile_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("build/Imagefile", "FROM scratch\nDISK 2 XB MBR\nPARTITON 1 MOUNT /\nRUN\n");
    let outcome = refused(&sandbox, &[]);
    for part in ["Imagefile:2:", "XB", "Imagefile:3:", "PARTITION", "Imagefile:4:", "^"] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
    }
    let outcome = refused(&sandbox, &["--progress", "json"]);
    let lines = outcome.json_lines();
    assert_eq!(lines.len(), 1, "an error alone");
    assert_eq!(lines[0]["error"]["kind"], "invalid-imagefile");
    let places: Vec<u64> = lines[0]["error"]["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|diagnostic| diagnostic["line"].as_u64().unwrap())
        .collect();
    for line in [2, 3, 4] {
        assert!(places.contains(&line), "{line} in {places:?}");
    }
}

#[test]
fn missing_imagefile_and_folder() {
    let sandbox = Sandbox::new();
    let outcome = refused(&sandbox, &[]);
    assert!(
        outcome.stderr.starts_with("error: ") && outcome.stderr.contains("build/Imagefile"),
        "{outcome:?}"
    );
    fs::remove_dir(sandbox.path("build")).unwrap();
    let outcome = refused(&sandbox, &[]);
    assert!(outcome.stderr.starts_with("error: ") && outcome.stderr.contains("build"), "{outcome:?}");
    let outcome = refused(&sandbox, &["--file", "nowhere"]);
    assert!(outcome.stderr.contains("nowhere") || outcome.stderr.contains("build"), "{outcome:?}");
}

#[test]
fn a_vm_has_a_disk_on_the_image() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write("build/Imagefile", TINY);
    sandbox.empty_image("used", "1M");
    sandbox.vm_with_disk("web", "used");
    let before = fs::read(sandbox.backend().join("used")).unwrap();
    let arguments = sandbox.build_arguments("used", &["--qemu-bin-name", "/nowhere/qemu"]);
    let outcome = sandbox.run(arguments).exits(1);
    assert!(outcome.stderr.starts_with("Backend 'used' is in use by ["), "{outcome:?}");
    assert!(outcome.stderr.contains("web"), "{outcome:?}");
    assert!(fs::read(sandbox.backend().join("used")).unwrap() == before);
}

#[test]
fn a_missing_base() {
    let sandbox = Sandbox::new();
    sandbox.write("build/Imagefile", "FROM missing,file=/nowhere/base.qcow2\nRUN true\n");
    let _ = refused(&sandbox, &[]).says(&["/nowhere/base.qcow2"]);
}

#[test]
fn a_source_that_is_outside_or_missing() {
    let sandbox = Sandbox::new();
    sandbox.write("outside", "x");
    symlink("../outside", sandbox.path("build/out")).unwrap();
    symlink("nothing", sandbox.path("build/dangling")).unwrap();
    for (instruction, words) in [
        ("COPY /etc/passwd /", ["/etc/passwd", "Imagefile:4:6"]),
        ("COPY ../outside /", ["../outside", "Imagefile:4:6"]),
        ("COPY nothing /", ["there is no 'nothing'", "Imagefile:4:1"]),
        ("COPY out/x /", ["'out/x' leaves the build directory", "Imagefile:4:1"]),
        ("ADD dangling /", ["there is no 'dangling'", "Imagefile:4:1"]),
        ("ADD out /", ["'out' leaves the build directory", "Imagefile:4:1"]),
    ] {
        let imagefile =
            format!("FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\n{instruction}\n");
        sandbox.write("build/Imagefile", imagefile);
        let _ = refused(&sandbox, &[]).says(&words);
    }
}

#[test]
fn a_base_that_points_at_other_files() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("base", "1M");
    sandbox.vm_with_disk("vm", "base");
    let overlay = sandbox.vmstore().join("vm/vm-0-base");
    sandbox.write("build/Imagefile", format!("FROM overlay,file={}\nRUN true\n", overlay.display()));
    let outcome = refused(&sandbox, &["--progress", "json"]);
    assert_eq!(outcome.json_lines().last().unwrap()["error"]["kind"], "invalid-image");
    assert!(!sandbox.backend().join("overlay").exists());
}

#[test]
fn missing_programs_are_named_with_their_package() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write("build/Imagefile", TINY);
    for (missing, package) in [("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils")] {
        let folder = sandbox.path(format!("without-{missing}"));
        fs::create_dir(&folder).unwrap();
        for program in ["qemu-system-x86_64", "qemu-img"].iter().filter(|program| **program != missing) {
            symlink(format!("/usr/bin/{program}"), folder.join(program)).unwrap();
        }
        let arguments = sandbox.build_arguments("new", &[]);
        let output = sandbox.command(arguments).env("PATH", &folder).output().unwrap();
        let outcome = sandbox.outcome(output).exits(1).says(&[package]);
        let expected = format!("Required program '{missing}' is not installed");
        assert!(outcome.stderr.lines().any(|line| line.starts_with(&expected)), "{outcome:?}");
        assert!(sandbox.leftovers().is_empty());
    }
}
