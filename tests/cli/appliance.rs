//! `transient appliance build|show`

use crate::harness::Sandbox;

#[test]
fn show() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(["appliance", "show"]).exits(0);
    for part in ["folder ", "kernel ", "initramfs ", "  /init"] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
    let outcome = sandbox.run(["appliance", "show", "--format", "json"]).exits(0);
    let appliance = &outcome.json_lines()[0];
    assert!(std::path::Path::new(appliance["kernel"].as_str().unwrap()).is_file());
    assert!(!appliance["description"]["kernel_release"].as_str().unwrap().is_empty());
}

#[test]
fn a_named_one_that_is_missing_is_an_error() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.command(["appliance", "show"]).env("TRANSIENT_APPLIANCE", "/nowhere").output().unwrap();
    let outcome = sandbox.outcome(output).exits(1).says(&["/nowhere"]);
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
}

#[test]
fn build_needs_a_kernel() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .run(["appliance", "build", "--kernel", "no-kernel", "--modules", "no-modules", "--output", "out"])
        .exits(1)
        .says(&["no-kernel"]);
    assert!(!sandbox.path("out").exists(), "nothing is left of a failure");
}
