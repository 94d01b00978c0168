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

/// From the kernel that `make test` downloads.
#[test]
#[ignore = "needs target/kernel"]
fn the_same_inputs_give_the_same_bytes() {
    let sandbox = Sandbox::new();
    let kernel = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kernel");
    for output in ["first", "second"] {
        let (image, modules) = (kernel.join("vmlinuz"), kernel.join("modules"));
        let words = ["appliance", "build", "--kernel", image.to_str().unwrap(), "--modules"];
        let _ =
            sandbox.run(words.into_iter().chain([modules.to_str().unwrap(), "--output", output])).exits(0);
    }
    let mut files = 0;
    for entry in std::fs::read_dir(sandbox.path("first")).unwrap() {
        let first = entry.unwrap().path();
        let second = sandbox.path("second").join(first.file_name().unwrap());
        assert!(std::fs::read(&first).unwrap() == std::fs::read(second).unwrap(), "{}", first.display());
        files += 1;
    }
    assert!(files >= 3, "kernel, initramfs and description");
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
