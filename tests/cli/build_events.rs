//! `--progress`, `-v`, and what a build says while it works.

use crate::fixture::{rootfs, with_tiny};
use crate::harness::Sandbox;

#[test]
fn json_is_one_event_a_line() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo out; echo err >&2\n";
    let outcome = sandbox.build("new", imagefile, &["--progress", "json"]).exits(0);
    let events = outcome.json_lines();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();

    let started = of("step-started");
    assert_eq!(started.len(), 2);
    assert_eq!((&started[1]["step"], &started[1]["steps"]), (&2.into(), &2.into()));
    assert_eq!(started[1]["line"], 2);
    assert_eq!(of("step-finished").len(), 2);

    let builder = of("builder-started");
    assert_eq!(builder.len(), 1);
    assert!(["kvm", "tcg"].contains(&builder[0]["accelerator"].as_str().unwrap()));
    assert!(builder[0]["elapsed"].as_f64().unwrap() > 0.0);

    let said = |stream: &str| -> String {
        let output = of("output").into_iter().filter(|event| event["stream"] == stream);
        output.map(|event| event["data"].as_str().unwrap()).collect()
    };
    assert_eq!((said("stdout").as_str(), said("stderr").as_str()), ("out\n", "err\n"));

    let last = events.last().unwrap();
    assert_eq!(last["event"], "build-finished");
    assert_eq!(last["image"]["name"], "new");
    assert_eq!(last["image"]["path"], "[ROOT]/home/.local/share/transient/backend/new");
    assert_eq!(last["image"]["virtual_size"], 256 << 20);
}

#[test]
fn output_is_passed_through_as_bytes() {
    let sandbox = with_tiny();
    sandbox.write("build/Imagefile", "FROM tiny\nRUN echo -ne 'a\\xff\\r\\n'; seq 1 20000\n");
    let output = sandbox.command(sandbox.build_arguments("new", &[])).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.windows(4).any(|bytes| bytes == b"a\xff\r\n"));
    assert!(output.stdout.ends_with(b"\n19999\n20000\n"), "nothing at the end is lost");
    assert!(
        !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
        "no escapes without a terminal"
    );
}

#[test]
fn verbose_shows_what_is_run() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let outcome = sandbox.build("new", crate::fixture::TINY, &["-v"]).exits(0);
    for program in ["qemu-img", "qemu-system-x86_64"] {
        assert!(outcome.stderr.contains(program), "{program}: {outcome:?}");
    }
    let quiet = sandbox.build("new", crate::fixture::TINY, &["--no-cache"]).exits(0);
    assert!(!quiet.stderr.contains("qemu-img"), "{quiet:?}");
    let louder =
        sandbox.build("new", crate::fixture::TINY, &["-vvv", "--no-cache"]).exits(0).says(&["INFO", "DEBUG"]);
    assert!(!louder.stdout.contains("DEBUG"), "the log is on stderr");
}

#[test]
fn kvm_that_does_not_work_is_an_error_only_when_asked_for() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN true\n";
    let _ = sandbox.build("auto", imagefile, &["--accel", "auto"]).exits(0);
    let _ = sandbox.build("tcg", imagefile, &["--accel", "tcg", "--no-cache"]).exits(0);
    let kvm = sandbox.build("kvm", imagefile, &["--accel", "kvm", "--progress", "json", "--no-cache"]);
    if kvm.code != Some(0) {
        assert_eq!(kvm.json_lines().last().unwrap()["error"]["kind"], "kvm-unusable");
        assert!(!sandbox.backend().join("kvm").exists());
    }
}
