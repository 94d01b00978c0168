//! A clock that jumps, and files whose times are in the future or long past.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::fixture::with_tiny;
use crate::harness::{Sandbox, host};
use crate::server::{Reply, Server};

/// Returns a library that makes the clock of whoever preloads it jump.
fn jumping_clock(sandbox: &Sandbox) -> PathBuf {
    let library = sandbox.path("jumping_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/jumping_clock.c");
    host(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library.to_str().unwrap(), source]);
    let dates = format!("export LD_PRELOAD={}; exec date +%Y", library.display());
    let year = host(["date", "+%Y"]);
    assert_ne!(host(["sh", "-c", &dates]), year, "it works");
    library
}

#[test]
fn a_clock_that_jumps_during_a_pull() {
    let sandbox = Sandbox::new();
    let content = vec![7; 1 << 20];
    let server = Server::start(move |asked| {
        let reply = Reply::ok(content.clone()).ranges().header("ETag", "\"one\"");
        if asked.number == 1 { reply.cut_after(1 << 19) } else { reply }
    });
    let spec = format!("new,http={}", server.url("/"));
    let mut command = sandbox.command(["image", "pull", &spec]);
    let output = command.env("LD_PRELOAD", jumping_clock(&sandbox)).output().unwrap();
    let outcome = sandbox.outcome(output).exits(0);
    assert_eq!(server.asked().len(), 2, "{outcome:#?}");
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn a_clock_that_jumps_during_a_build() {
    let sandbox = with_tiny();
    sandbox.write("build/file", "content");
    sandbox.write("build/Imagefile", "FROM tiny\nCOPY file /file\nRUN cat /file; sleep 1\n");
    let mut command = sandbox.command(sandbox.build_arguments("new", &[]));
    let output = command.env("LD_PRELOAD", jumping_clock(&sandbox)).output().unwrap();
    let outcome = sandbox.outcome(output).exits(0);
    assert!(outcome.stdout.contains("content"), "{outcome:#?}");
    assert!(sandbox.leftovers().is_empty());
}

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn the_times_of_files_decide_nothing() {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86400);
    for time in [UNIX_EPOCH, SystemTime::now() + CENTURY] {
        let sandbox = Sandbox::new();
        sandbox.empty_image("there", "1M");
        sandbox.write("disk", [7; 1 << 16]);
        let server = Server::start(|_| Reply::silent());
        let spec = format!("held,http={}", server.url("/"));
        let mut living = sandbox.command(["image", "pull", &spec]).spawn().unwrap();
        while server.asked().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What a killed build left.
        let working = sandbox.backend().join(".working");
        let dead = working.join(".build-dead00");
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join(".lock"), "99999999\n").unwrap();
        fs::write(working.join("dead"), "99999999\n").unwrap();
        let held = working.join("held");
        for path in
            [&sandbox.path("disk"), &sandbox.backend().join("there"), &dead.join(".lock"), &dead, &held]
        {
            set_time(path, time);
        }
        let _ = sandbox.run(["image", "pull", "new,file=disk"]).exits(0);
        assert!(!dead.exists() && !working.join("dead").exists(), "the dead are cleared away");
        assert!(held.exists() && living.try_wait().unwrap().is_none(), "the living work on");
        let listed = sandbox.run(["image", "ls"]).exits(0);
        assert!(listed.stdout.contains("there") && listed.stderr.is_empty(), "{listed:#?}");
        living.kill().unwrap();
        living.wait().unwrap();
    }
}
