//! What builds keep for the next ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs, with_tiny};
use crate::harness::{Outcome, Sandbox};
use crate::processes::{is_ready, send, wait_for};

/// A QEMU that cannot be: what is built with it was not booted.
const NO_VM: [&str; 2] = ["--qemu-bin-name", "/nonexistent/qemu"];

fn build(sandbox: &Sandbox, imagefile: &str, more: &[&str]) -> Outcome {
    sandbox.build("new", imagefile, &[&["--progress", "json"], more].concat())
}

/// Returns which steps of a build were cached.
fn cached(outcome: &Outcome) -> Vec<bool> {
    let finished = |event: &Value| (event["event"] == "step-finished").then(|| event["cached"] == true);
    outcome.json_lines().iter().filter_map(finished).collect()
}

fn read(sandbox: &Sandbox, path: &str) -> String {
    Disk::open(&sandbox.backend().join("new")).ext(1).read(path)
}

#[test]
fn a_build_of_which_nothing_changed_boots_no_vm() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write("build/f", "copied");
    let imagefile = format!("{TINY}COPY f /\nRUN cat /proc/sys/kernel/random/uuid > /id\n");
    assert_eq!(cached(&build(&sandbox, &imagefile, &[]).exits(0)), [false; 6]);
    let id = read(&sandbox, "/id");
    // The same files of another checkout, and another way to write the same.
    fs::remove_file(sandbox.path("build/f")).unwrap();
    fs::set_permissions(sandbox.write("build/f", "copied"), fs::Permissions::from_mode(0o664)).unwrap();
    let imagefile = imagefile.replace("COPY f /", "# what\ncopy  \"f\" /");
    assert_eq!(cached(&build(&sandbox, &imagefile, &NO_VM).exits(0)), [true; 6]);
    assert_eq!(read(&sandbox, "/id"), id);
    let plain = sandbox.build("other", &imagefile, &NO_VM).exits(0);
    assert!(
        plain.stdout.contains("Step 6/6 : RUN cat /proc/sys/kernel/random/uuid > /id\nCACHED\n"),
        "{plain:?}"
    );
    // What made them is known of both.
    let history = sandbox.run(["image", "history", "other"]).exits(0).stdout;
    assert!(history.contains("FROM scratch") && history.contains("RUN cat"), "{history}");
    assert_eq!(cached(&build(&sandbox, &imagefile, &["--no-cache"]).exits(0)), [false; 6]);
    let anew = read(&sandbox, "/id");
    assert_ne!(anew, id);
    let _ = build(&sandbox, &imagefile, &NO_VM).exits(0);
    assert_eq!(read(&sandbox, "/id"), anew, "the cache has the new layers");
}

#[test]
fn steps_from_one_on_are_done_anew() {
    let sandbox = with_tiny();
    let id = "cat /proc/sys/kernel/random/uuid";
    let imagefile = format!("FROM tiny\nRUN {id} > /one\nRUN {id} > /two\n");
    let _ = build(&sandbox, &imagefile, &[]).exits(0);
    let ids = || (read(&sandbox, "/one"), read(&sandbox, "/two"));
    let before = ids();
    assert_eq!(
        cached(&build(&sandbox, &imagefile, &["--no-cache-from", "3"]).exits(0)),
        [false, true, false]
    );
    let after = ids();
    assert!(before.0 == after.0 && before.1 != after.1, "{before:?} {after:?}");
    assert_eq!(cached(&build(&sandbox, &imagefile, &NO_VM).exits(0)), [false, true, true]);
    assert_eq!(ids(), after, "the cache has the new layer");
    let refused = sandbox.build("new", &imagefile, &["--no-cache-from", "4"]).exits(1);
    let _ = refused.says(&["there is no step 4", "hint: the Imagefile has the steps 1 to 3"]);
    let _ = sandbox.build("new", &imagefile, &["--no-cache-from", "0"]).exits(2);
}

#[test]
fn what_changed_and_what_follows_is_done_anew() {
    let sandbox = with_tiny();
    sandbox.write("build/d/f", "one");
    let imagefile = |last: &str| {
        format!(
            "FROM tiny\nRUN echo early > /early; echo t > /tmp/t; echo r > /run/r\nCOPY d /d\nRUN {last}\n"
        )
    };
    // What lies in /tmp and /run is there for later steps, and not in the image.
    let last = "cat /tmp/t /run/r /d/f > /last";
    assert_eq!(cached(&build(&sandbox, &imagefile(last), &[]).exits(0)), [false; 4]);
    assert_eq!(read(&sandbox, "/last"), "t\nr\none");
    let last = "cat /run/r /d/f /tmp/t > /last";
    assert_eq!(cached(&build(&sandbox, &imagefile(last), &[]).exits(0)), [false, true, true, false]);
    assert_eq!(read(&sandbox, "/last"), "r\nonet\n");
    sandbox.write("build/d/f", "two");
    assert_eq!(cached(&build(&sandbox, &imagefile(last), &[]).exits(0)), [false, true, false, false]);
    assert_eq!(read(&sandbox, "/last"), "r\ntwot\n");
    let root = Disk::open(&sandbox.backend().join("new")).ext(1);
    for path in ["/tmp/t", "/run/r", "/.transient-build"] {
        assert!(!root.has(path), "{path} is in the image");
    }
    // The base counts by its content, and not by its name or file.
    let backend = sandbox.backend();
    fs::copy(backend.join("tiny"), backend.join("copy")).unwrap();
    let copied = imagefile(last).replace("FROM tiny", "FROM copy");
    assert_eq!(cached(&build(&sandbox, &copied, &NO_VM).exits(0)), [false, true, true, true]);
}

#[test]
fn what_changes_during_a_build_is_not_kept() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo ready; sleep 2\nCOPY f /f\nRUN true\n";
    sandbox.write("build/f", "before");
    let mut child = sandbox.start_build("new", imagefile);
    let rest = wait_for(&mut child, is_ready);
    sandbox.write("build/f", "meanwhile");
    assert!(child.wait().unwrap().success());
    let rest = rest.join().unwrap();
    assert!(rest.iter().any(|event| event["event"] == "warning"), "{rest:#?}");
    assert_eq!(read(&sandbox, "/f"), "meanwhile");
    // Neither the one nor the other is taken for what is in the image.
    for content in ["before", "meanwhile"] {
        sandbox.write("build/f", content);
        assert_eq!(cached(&build(&sandbox, imagefile, &[]).exits(0)), [false, true, false, false]);
        assert_eq!(read(&sandbox, "/f"), content);
    }
}

#[test]
fn a_build_that_failed_goes_on_before_the_step() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN test -e /proc/nothing\n";
    let _ = build(&sandbox, imagefile, &[]).exits(1);
    let mended = imagefile.replace("/proc/nothing", "/id");
    assert_eq!(cached(&build(&sandbox, &mended, &[]).exits(0)), [false, true, false]);
}

#[test]
fn a_build_that_was_killed_leaves_whole_layers() {
    let sandbox = with_tiny();
    let mut child =
        sandbox.start_build("new", "FROM tiny\nRUN echo kept > /kept\nRUN echo ready; sleep 600\n");
    wait_for(&mut child, is_ready);
    send(child.id(), Signal::KILL);
    child.wait().unwrap();
    let next = "FROM tiny\nRUN echo kept > /kept\nRUN cat /kept > /copy\n";
    assert_eq!(cached(&build(&sandbox, next, &[]).exits(0)), [false, true, false]);
    assert_eq!(read(&sandbox, "/copy"), "kept\n");
}

#[test]
fn a_layer_that_was_altered_is_made_again() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo right > /what\n";
    let _ = build(&sandbox, imagefile, &[]).exits(0);
    for layer in fs::read_dir(sandbox.cache().join("layers")).unwrap() {
        let disk = layer.unwrap().path().join("disk.qcow2");
        fs::set_permissions(&disk, fs::Permissions::from_mode(0o644)).unwrap();
        fs::OpenOptions::new().append(true).open(&disk).unwrap().write_all(b"x").unwrap();
    }
    let _ = sandbox.run(["image", "rm", "new"]).exits(0);
    assert_eq!(cached(&build(&sandbox, imagefile, &[]).exits(0)), [false, false]);
    assert_eq!(read(&sandbox, "/what"), "right\n");
    assert_eq!(cached(&build(&sandbox, imagefile, &NO_VM).exits(0)), [false, true]);
}

#[test]
fn what_two_want_is_done_once() {
    let sandbox = with_tiny();
    let slow = "FROM tiny\nRUN echo ready; sleep 3; cat /proc/sys/kernel/random/uuid > /id\n";
    let mut first = sandbox.start_build("first", slow);
    let rest = wait_for(&mut first, is_ready);
    let second = sandbox.command(sandbox.build_arguments("new", &["--progress", "json"]));
    let output = { second }.stdout(Stdio::piped()).output().unwrap();
    let second = sandbox.outcome(output).exits(0);
    assert_eq!(cached(&second), [false, true]);
    assert!(second.stdout.contains(&format!("Waiting for process {}", first.id())), "{second:?}");
    assert!(first.wait().unwrap().success());
    rest.join().unwrap();
    let id = |name: &str| Disk::open(&sandbox.backend().join(name)).ext(1).read("/id");
    assert_eq!(id("first"), id("new"));
}

#[test]
fn layers_are_listed_limited_and_removed() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo one > /one\nRUN echo two > /two\n";
    let _ = build(&sandbox, imagefile, &[]).exits(0);
    let list = || sandbox.run(["cache", "ls", "--format", "json"]).exits(0).json_lines().remove(0);
    let layers = list();
    let instructions: Vec<_> = layers.as_array().unwrap().iter().map(|layer| &layer["instruction"]).collect();
    assert_eq!(instructions.len(), 3, "two steps, and the end");
    assert!(instructions.contains(&&Value::from("RUN echo two > /two")), "{layers}");
    let table = sandbox.run(["cache", "ls"]).exits(0).stdout;
    assert!(table.contains("RUN echo one > /one\n") && table.contains("(the end of a build)"), "{table}");

    let one = layers.as_array().unwrap().iter().find(|layer| layer["parent"].is_null()).unwrap();
    let _ = sandbox.run(["cache", "rm", "0000"]).exits(1).says(&["there is no layer '0000' in the cache"]);
    let _ = sandbox.run(["cache", "rm", &one["key"].as_str().unwrap()[..12]]).exits(0);
    assert_eq!(list(), Value::Array(Vec::new()), "what stands on it goes with it");
    let _ = build(&sandbox, imagefile, &["--cache-limit", "0", "--no-cache"]).exits(0);
    assert_eq!(list(), Value::Array(Vec::new()));
    let _ = sandbox.run(["image", "rm", "new"]).exits(0);
    let _ = build(&sandbox, imagefile, &[]).exits(0);
    assert!(sandbox.run(["cache", "prune"]).exits(0).stdout.starts_with("Freed "));
    assert_eq!(list(), Value::Array(Vec::new()));
}
