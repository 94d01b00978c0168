//! `transient image history`; what builds tell is in `image_inspect`.

use std::fs;

use crate::harness::Sandbox;

#[test]
fn the_newest_step_is_the_first_line() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("source", "1M");
    fs::rename(sandbox.backend().join("source"), sandbox.path("disk.qcow2")).unwrap();
    let _ = sandbox.run(["image", "pull", "web,file=disk.qcow2"]).exits(0);
    let record = sandbox.backend().join(".provenance/web");
    // Another step, as a build adds it.
    let mut told: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let step = serde_json::json!({
        "image": "web", "instruction": "RUN a\u{1b}b", "finished": "2030-01-02T03:04:05.678Z", "elapsed": 12.34,
    });
    told["provenance"]["steps"].as_array_mut().unwrap().push(step);
    fs::write(&record, told.to_string()).unwrap();
    let outcome = sandbox.run(["image", "history", "web"]).exits(0);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], " FINISHED                  SECONDS  IMAGE  INSTRUCTION ");
    assert_eq!(lines[1], " 2030-01-02T03:04:05.678Z     12.3  web    RUN a\\u{1b}b ");
    assert!(lines[2].ends_with("  web    PULL web,file=disk.qcow2 ") && lines.len() == 3, "{outcome:#?}");
}

#[test]
fn nothing_is_known() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    let outcome = sandbox.run(["image", "history", "a"]).exits(0);
    assert_eq!(outcome.stderr, "warning: nothing is known of how 'a' was made\n");
    assert_eq!(outcome.stdout, " FINISHED  SECONDS  IMAGE  INSTRUCTION \n");
    let outcome = sandbox.run(["image", "history", "a", "--format", "json"]).exits(0);
    assert_eq!(outcome.stdout, "[]\n");
}

#[test]
fn unknown_name() {
    let outcome = Sandbox::new().run(["image", "history", "x"]).exits(1);
    assert_eq!(outcome.stderr, "No image in backend with name 'x'\n");
}
