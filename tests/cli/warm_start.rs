//! Builder VMs that are restored instead of booted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs};
use crate::harness::{Outcome, Sandbox};

/// Says what must not be the same in any two builders.
const TELL: &str = "RUN od -An -N32 -tx1 /dev/urandom; cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; date +%s\n";

fn build(sandbox: &Sandbox, name: &str, more: &[&str]) -> Outcome {
    let arguments = [&["--progress", "json", "--no-cache", "--accel", "tcg"], more].concat();
    sandbox.build(name, &format!("{TINY}{TELL}"), &arguments)
}

fn is_warm(outcome: &Outcome) -> bool {
    let started = |event: &Value| (event["event"] == "builder-started").then(|| event["warm"] == true);
    outcome.json_lines().iter().find_map(started).unwrap()
}

/// Returns what the guest said, a word each.
fn told(outcome: &Outcome) -> Vec<String> {
    let output =
        |event: &Value| (event["event"] == "output").then(|| event["data"].as_str().unwrap().to_owned());
    outcome
        .json_lines()
        .iter()
        .filter_map(output)
        .collect::<String>()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Builds until there is a saved builder. In the first build it may not come to be, for that waits for nothing; in the
/// second it must.
fn warm_up(sandbox: &Sandbox, more: &[&str]) {
    assert!((0..3).any(|_| is_warm(&build(sandbox, "new", more).exits(0))), "no builder was saved");
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn builders_of_one_state_have_nothing_in_common() {
    let sandbox = Sandbox::cold();
    rootfs(&sandbox);
    assert!(!is_warm(&build(&sandbox, "first", &[]).exits(0)));
    warm_up(&sandbox, &[]);
    let before = now();
    // Two of them at once.
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| build(&sandbox, "one", &[]).exits(0));
        (build(&sandbox, "other", &[]).exits(0), one.join().unwrap())
    });
    assert!(is_warm(&one) && is_warm(&other));
    let (one, other) = (told(&one), told(&other));
    assert_eq!((one.len(), other.len()), (35, 35), "{one:?}");
    let same = one[..32].iter().zip(&other[..32]).filter(|(one, other)| one == other).count();
    assert!(same < 8, "random bytes: {one:?} {other:?}");
    assert_ne!(one[32], other[32], "the boot ids");
    assert_ne!(one[33], other[33], "random UUIDs");
    let clock: u64 = one[34].parse().unwrap();
    assert!((before..=now()).contains(&clock), "the clock says {clock}, it is {before}");
    let uuid = |name: &str| Disk::open(&sandbox.backend().join(name)).ext(1).uuid();
    assert_ne!(uuid("one"), uuid("other"), "those of the filesystems");
}

#[test]
fn a_builder_that_cannot_be_restored_is_booted_and_saved_anew() {
    let sandbox = Sandbox::cold();
    rootfs(&sandbox);
    for (script, timeout) in [("exit 1", "10"), ("exec sleep 60", "5")] {
        let refuse = sandbox.path("refuse");
        let program = sandbox.write(
            "bin/qemu",
            format!(
                "#!/bin/sh\ncase \" $* \" in *' -incoming '*) [ ! -e '{}' ] || {script} ;; esac\nexec qemu-system-x86_64 \"$@\"\n",
                refuse.display()
            ),
        );
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let more = ["--qemu-bin-name", program.to_str().unwrap(), "--qmp-timeout", timeout];
        warm_up(&sandbox, &more);
        fs::write(&refuse, "").unwrap();
        let failing = build(&sandbox, "new", &more).exits(0);
        assert!(!is_warm(&failing) && failing.stderr.is_empty(), "{failing:?}");
        fs::remove_file(refuse).unwrap();
        warm_up(&sandbox, &more);
    }
}

#[test]
fn a_qemu_that_cannot_be_saved_boots_each_time() {
    let sandbox = Sandbox::cold();
    rootfs(&sandbox);
    let script =
        "#!/bin/sh\ncase \" $* \" in *memory-backend-file*) exit 1 ;; esac\nexec qemu-system-x86_64 \"$@\"\n";
    let program = sandbox.write("bin/qemu", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..3 {
        let built = build(&sandbox, "new", &["--qemu-bin-name", program.to_str().unwrap()]).exits(0);
        assert!(!is_warm(&built) && built.stderr.is_empty(), "{built:?}");
    }
}

#[test]
fn whoever_wants_none_gets_none() {
    let sandbox = Sandbox::cold();
    rootfs(&sandbox);
    assert!(!is_warm(&build(&sandbox, "new", &["--no-warm-start"]).exits(0)));
    assert!(!sandbox.builders().exists());
}
