//! A `qemu-img` that is missing, ends badly, lies, or hangs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use snapbox::{assert_data_eq, str};

use crate::harness::{Outcome, Sandbox};
use crate::processes::{all_end, descendants, send};

/// Returns the program with a script in the place of `qemu-img`.
fn with_script(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> Command {
    let program = sandbox.write("bin/qemu-img", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command(arguments);
    command.env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display()));
    command
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("disk", [7; 1 << 16]);
    sandbox.empty_image("base", "1M");
    sandbox
}

const PULL: [&str; 3] = ["image", "pull", "new,file=disk"];

#[track_caller]
fn nothing_came_of_it(sandbox: &Sandbox) {
    assert!(!sandbox.backend().join("new").exists());
    assert!(sandbox.leftovers().is_empty());
    let _ = sandbox.run(PULL).exits(0);
}

fn pull_with(script: &str) -> Outcome {
    let sandbox = sandbox();
    let outcome = sandbox.outcome(with_script(&sandbox, script, &PULL).output().unwrap()).exits(1);
    nothing_came_of_it(&sandbox);
    outcome
}

#[test]
fn a_missing_qemu_img() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("empty")).unwrap();
    let output = sandbox.command(PULL).env("PATH", sandbox.path("empty")).output().unwrap();
    let outcome = sandbox.outcome(output).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
Required program 'qemu-img' is not installed
hint: install the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora)

"#]]
    );
    nothing_came_of_it(&sandbox);
}

#[test]
fn a_qemu_img_that_may_not_be_run() {
    let sandbox = sandbox();
    let mut command = with_script(&sandbox, "", &PULL);
    fs::set_permissions(sandbox.path("bin/qemu-img"), fs::Permissions::from_mode(0o644)).unwrap();
    command.env("PATH", sandbox.path("bin"));
    let outcome = sandbox.outcome(command.output().unwrap()).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
Could not run required program 'qemu-img': Permission denied (os error 13)

"#]]
    );
    nothing_came_of_it(&sandbox);
}

#[test]
fn a_qemu_img_that_fails() {
    assert_data_eq!(
        &pull_with("echo 'qemu-img: no idea' >&2; exit 3").stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: 'qemu-img' failed (exit status: 3): qemu-img: no idea

"#]]
    );
}

#[test]
fn a_qemu_img_that_is_killed() {
    assert_data_eq!(
        &pull_with("kill -9 $$").stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: 'qemu-img' failed (signal: 9 (SIGKILL))

"#]]
    );
}

#[test]
fn a_qemu_img_that_prints_garbage() {
    let outcome = pull_with("head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2");
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
Command produced garbage: 'qemu-img' succeeded, but '[ROOT]/home/.local/share/transient/backend/.working/.build-[..]/image.qcow2' cannot be read: No such file or directory (os error 2)
hint: another program may have the name 'qemu-img': see `command -v qemu-img`

"#]]
    );
    let outcome = pull_with("head -c 100000 /dev/urandom >&2; echo; exit 1");
    let _ = outcome.says(&["error: 'qemu-img' failed (exit status: 1)"]);
}

#[test]
fn a_qemu_img_that_writes_garbage() {
    let outcome = pull_with("for last; do :; done; echo garbage > \"$last\"");
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
Command produced garbage: 'qemu-img' succeeded, but '[ROOT]/home/.local/share/transient/backend/.working/.build-[..]/image.qcow2' is no qcow2 image, but raw
hint: another program may have the name 'qemu-img': see `command -v qemu-img`

"#]]
    );
}

#[test]
fn a_qemu_img_that_lies_to_a_build() {
    let sandbox = sandbox();
    sandbox.write("build/Imagefile", "FROM base\nRUN true\n");
    let arguments = sandbox.build_arguments("new", &[]);
    let output = with_script(&sandbox, "exit 0", &arguments).output().unwrap();
    let _ = sandbox.outcome(output).exits(1).says(&["Command produced garbage", "Imagefile:2:1"]);
    nothing_came_of_it(&sandbox);
}

/// That it is noticed is a unit test of `process`: it takes minutes.
#[test]
fn a_qemu_img_that_hangs_ends_with_an_interrupt() {
    for script in ["exec sleep 600", "kill -STOP $$"] {
        let sandbox = sandbox();
        let script = format!("touch \"$HOME/started\"; {script}");
        let mut command = with_script(&sandbox, &script, &PULL);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !sandbox.path("home/started").exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let processes = descendants(child.id());
        let begun = Instant::now();
        send(child.id(), Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        all_end(&processes);
        nothing_came_of_it(&sandbox);
    }
}
