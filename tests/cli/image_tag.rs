//! `transient image tag`

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::harness::Sandbox;

/// A sandbox with the read-only image `web`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.empty_image("web", "1M");
    fs::set_permissions(sandbox.backend().join("web"), fs::Permissions::from_mode(0o444)).unwrap();
    sandbox
}

#[test]
fn two_names_for_one_file() {
    let sandbox = sandbox();
    let outcome = sandbox.run(["image", "tag", "web", "team/web:1"]).exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    let inode = |file: &str| fs::metadata(sandbox.backend().join(file)).unwrap().ino();
    assert_eq!(inode("web"), inode("team%2Fweb%3A1"));
    let listed = sandbox.run(["image", "ls", "--format", "json"]).exits(0).json_lines();
    assert_eq!((&listed[0][0]["name"], &listed[0][1]["name"]), (&"team/web:1".into(), &"web".into()));
    let _ = sandbox.run(["image", "rm", "web"]).exits(0);
    assert!(sandbox.run(["image", "ls"]).exits(0).stdout.contains("team/web:1"));
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_name_that_is_taken() {
    let sandbox = sandbox();
    sandbox.empty_image("other", "2M");
    let outcome = sandbox.run(["image", "tag", "web", "other"]).exits(1);
    assert!(outcome.stderr.starts_with("An image with the name 'other' already exists\n"), "{outcome:?}");
    let _ = sandbox.run(["image", "tag", "--force", "web", "other"]).exits(0);
    let outcome = sandbox.run(["image", "ls", "--format", "json"]).exits(0);
    assert!(outcome.json_lines()[0].as_array().unwrap().iter().all(|image| image["virtual_size"] == 1 << 20));
}

#[test]
fn a_name_that_a_vm_uses() {
    let sandbox = sandbox();
    sandbox.empty_image("used", "2M");
    sandbox.vm_with_disk("box", "used");
    let outcome = sandbox.run(["image", "tag", "-f", "web", "used"]).exits(1);
    assert!(outcome.stderr.starts_with("Backend 'used' is in use by ['box']"), "{outcome:?}");
    // A VM on one name is not in the way of another name of the same file.
    let _ = sandbox.run(["image", "tag", "used", "second"]).exits(0);
    let _ = sandbox.run(["image", "rm", "second"]).exits(0);
}

#[test]
fn an_image_that_is_not_there() {
    let sandbox = sandbox();
    let outcome = sandbox.run(["image", "tag", "nothing", "new"]).exits(1);
    assert!(outcome.stderr.starts_with("No image in backend with name 'nothing'"), "{outcome:?}");
    assert!(!sandbox.backend().join(".working").exists(), "nothing was made");
}

#[test]
fn json() {
    let sandbox = sandbox();
    let line = &sandbox.run(["image", "tag", "web", "new", "--format", "json"]).exits(0).json_lines()[0];
    assert_eq!((&line["name"], &line["virtual_size"]), (&"new".into(), &(1 << 20).into()));
    let line = &sandbox.run(["image", "tag", "web", "new", "--format", "json"]).exits(1).json_lines()[0];
    assert_eq!(line["error"]["kind"], "image-exists");
}
