//! `transient image rm`

use crate::harness::Sandbox;

#[test]
fn removes_all_that_are_named() {
    let sandbox = Sandbox::new();
    for image in ["a", "b", "c"] {
        sandbox.empty_image(image, "1M");
    }
    let outcome = sandbox.run(["image", "rm", "a", "c"]).exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert!(!sandbox.backend().join("a").exists() && !sandbox.backend().join("c").exists());
    assert!(sandbox.backend().join("b").exists());
}

#[test]
fn unknown_name() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("known", "1M");
    let outcome = sandbox.run(["image", "rm", "known", "unknown"]).exits(1);
    assert!(outcome.stderr.starts_with("No image in backend with name 'unknown'"), "{outcome:?}");
    assert!(sandbox.backend().join("known").exists(), "all or none");
}

#[test]
fn in_use() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("base", "1M");
    sandbox.vm_with_disk("web", "base");
    let outcome = sandbox.run(["image", "rm", "base"]).exits(1);
    assert!(outcome.stderr.starts_with("Backend 'base' is in use by ["), "{outcome:?}");
    assert!(outcome.stderr.contains("web"), "{outcome:?}");
    assert!(sandbox.backend().join("base").exists());
}

#[test]
fn in_use_by_a_vm_of_another_store() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("base", "1M");
    sandbox.vm_with_disk("web", "base");
    std::fs::rename(sandbox.vmstore(), sandbox.path("vms")).unwrap();
    let _ = sandbox.run(["image", "rm", "base", "--vmstore", "vms"]).exits(1).says(&["web"]);
    let _ = sandbox.run(["image", "rm", "base"]).exits(0);
}

#[test]
fn force_removes_with_a_warning() {
    for flag in ["-f", "--force"] {
        let sandbox = Sandbox::new();
        sandbox.empty_image("base", "1M");
        sandbox.vm_with_disk("web", "base");
        let _ =
            sandbox.run(["image", "rm", flag, "base"]).exits(0).says(&["warning: ", "is in use by", "web"]);
        assert!(!sandbox.backend().join("base").exists());
    }
}

#[test]
fn json() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    let outcome = sandbox.run(["image", "rm", "b", "--format", "json"]).exits(1);
    let error = &outcome.json_lines()[0]["error"];
    assert_eq!((error["kind"].as_str(), error["code"].as_u64()), (Some("image-not-found"), Some(200)));
    assert_eq!(outcome.stderr, "");
    let outcome = sandbox.run(["image", "rm", "a", "--format", "json"]).exits(0);
    assert_eq!(outcome.json_lines()[0]["removed"][0], "a");
}

#[test]
fn names_that_cannot_be() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(256);
    for name in ["", "..", long.as_str()] {
        let outcome = sandbox.run(["image", "rm", name, "--format", "json"]).exits(1);
        assert_eq!(outcome.json_lines()[0]["error"]["kind"], "invalid-image-name", "{name}");
    }
}
