//! Builds that fail in the middle.

use crate::fixture::with_tiny;

#[test]
fn a_run_that_fails() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\n\nRUN echo first\nRUN echo the-end-of-it >&2; exit 7\nRUN echo never\n";
    let outcome = sandbox.build("failed", imagefile, &[]).exits(1);
    assert!(
        outcome.stdout.contains("Step 3/4 : RUN ") && !outcome.stdout.contains("Step 4/4"),
        "{outcome:?}"
    );
    // The place, the status, and the end of the output below the error.
    let error = outcome.stderr.find("error: ").map(|start| &outcome.stderr[start..]).unwrap();
    for part in ["7", "Imagefile:4:", "RUN echo the-end-of-it", "    the-end-of-it"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!sandbox.backend().join("failed").exists());
    assert!(sandbox.leftovers().is_empty());
    let list = sandbox.run(["image", "ls"]).exits(0);
    assert_eq!(list.stdout.lines().count(), 2, "{list:?}");
}

#[test]
fn json_tells_the_same() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo the-end; kill -9 $$\n";
    let outcome = sandbox.build("failed", imagefile, &["--progress", "json"]).exits(1);
    let lines = outcome.json_lines();
    let last = lines.last().unwrap();
    assert_eq!(last["event"], "error");
    assert_eq!(last["error"]["kind"], "command-failed");
    assert_eq!(last["error"]["code"], 500);
    assert_eq!(last["error"]["exit_status"], 128 + 9);
    assert_eq!(last["error"]["location"]["line"], 2);
    assert!(last["error"]["output"].as_str().unwrap().contains("the-end"));
}

#[test]
fn a_missing_command() {
    let sandbox = with_tiny();
    let outcome = sandbox.build("failed", "FROM tiny\nRUN frobnicate\n", &[]).exits(1);
    let _ = outcome.says(&["127", "frobnicate"]);
}

#[test]
fn inspect_needs_a_terminal() {
    let sandbox = with_tiny();
    let _ = sandbox.build("failed", "FROM tiny\nINSPECT\n", &[]).exits(1).says(&["INSPECT", "terminal"]);
    assert!(!sandbox.backend().join("failed").exists());
}

#[test]
fn a_full_image_is_said() {
    let sandbox = with_tiny();
    sandbox.write("build/big", vec![1; 400 << 20]);
    let outcome = sandbox.build("full", "FROM tiny\nCOPY big /big\n", &["--progress", "json"]).exits(1);
    assert_eq!(outcome.json_lines().last().unwrap()["error"]["kind"], "image-full");
}

#[test]
fn a_disk_without_a_root_is_said() {
    let sandbox = with_tiny();
    sandbox.empty_image("void", "64M");
    let outcome = sandbox.build("new", "FROM void\nRUN true\n", &["--progress", "json"]).exits(1);
    assert_eq!(outcome.json_lines().last().unwrap()["error"]["kind"], "no-root-filesystem");
}
