//! What somebody may not do to a backend of somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use snapbox::{assert_data_eq, str};

use crate::harness::{Outcome, Sandbox, host};

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A sandbox that others may look into, with a backend that has an image, and the program where all can run it.
fn shared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.empty_image("theirs", "1M");
    fs::create_dir(sandbox.backend().join(".working")).unwrap();
    sandbox.write("disk", [7; 1 << 16]);
    let program = sandbox.path("transient");
    fs::copy(env!("CARGO_BIN_EXE_transient"), &program).unwrap();
    set(&program, 0o755);
    let mut folder = Some(sandbox.backend());
    while let Some(path) = folder.filter(|path| path.starts_with(sandbox.path(""))) {
        set(&path, 0o755);
        folder = path.parent().map(Path::to_owned);
    }
    sandbox
}

/// Runs the program as somebody without rights: root may do anything.
fn unprivileged(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    let ours = sandbox.command(arguments);
    let program = sandbox.path("transient");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .args(arguments)
        .env_clear()
        .envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(sandbox.path(""));
    sandbox.outcome(command.output().unwrap())
}

#[test]
fn a_backend_that_may_not_be_written_to() {
    let sandbox = shared();
    set(&sandbox.backend(), 0o555);
    set(&sandbox.backend().join(".working"), 0o555);
    let outcome = unprivileged(&sandbox, &["image", "ls"]).exits(0);
    assert!(outcome.stdout.contains("theirs") && outcome.stderr.is_empty(), "{outcome:#?}");
    let outcome = unprivileged(&sandbox, &["image", "pull", "new,file=disk"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: cannot lock '[ROOT]/home/.local/share/transient/backend/.working/new': Permission denied (os error 13)
hint: check its owner and permissions, or choose another backend

"#]]
    );
    let outcome = unprivileged(&sandbox, &["image", "rm", "theirs"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
error: cannot remove '[ROOT]/home/.local/share/transient/backend/theirs': Permission denied (os error 13)
hint: check its owner and permissions, or choose another backend

"#]]
    );
    assert!(sandbox.leftovers().is_empty() && sandbox.backend().join("theirs").exists());
    set(&sandbox.backend(), 0o777);
    set(&sandbox.backend().join(".working"), 0o777);
    let _ = unprivileged(&sandbox, &["image", "pull", "new,file=disk"]).exits(0);
    let _ = unprivileged(&sandbox, &["image", "rm", "new", "theirs"]).exits(0);
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn a_backend_that_may_not_be_read() {
    let sandbox = shared();
    set(&sandbox.backend(), 0o700);
    if !rustix::process::geteuid().is_root() {
        set(&sandbox.backend(), 0o000);
    }
    let outcome = unprivileged(&sandbox, &["image", "ls"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
error: cannot read the backend '[ROOT]/home/.local/share/transient/backend': Permission denied (os error 13)
hint: check its owner and permissions, or choose another backend

"#]]
    );
    let _ =
        unprivileged(&sandbox, &["image", "pull", "theirs"]).exits(1).says(&["Permission denied", "hint: "]);
    let _ =
        unprivileged(&sandbox, &["image", "rm", "theirs"]).exits(1).says(&["Permission denied", "hint: "]);
    set(&sandbox.backend(), 0o755);
    let _ = unprivileged(&sandbox, &["image", "ls"]).exits(0);
}

#[test]
fn an_image_that_may_not_be_read_is_a_warning() {
    let sandbox = shared();
    set(&sandbox.backend().join("theirs"), 0o000);
    sandbox.empty_image("other", "1M");
    let outcome = unprivileged(&sandbox, &["image", "ls"]).exits(0);
    assert!(outcome.stdout.contains("other"), "{outcome:#?}");
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
warning: cannot read '[ROOT]/home/.local/share/transient/backend/theirs': Permission denied (os error 13)

"#]]
    );
    let outcome = unprivileged(&sandbox, &["image", "pull", "theirs"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
error: cannot read '[ROOT]/home/.local/share/transient/backend/theirs': Permission denied (os error 13)
hint: check its owner and permissions, or choose another backend

"#]]
    );
}

#[test]
fn a_vm_store_that_may_not_be_read_keeps_images_from_being_removed() {
    let sandbox = shared();
    set(&sandbox.backend(), 0o777);
    fs::create_dir_all(sandbox.vmstore()).unwrap();
    set(&sandbox.vmstore(), 0o000);
    let outcome = unprivileged(&sandbox, &["image", "rm", "theirs"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
error: cannot read the VM store '[ROOT]/home/.local/share/transient/vmstore': Permission denied (os error 13)
hint: check its owner and permissions, or choose another VM store

"#]]
    );
    assert!(sandbox.backend().join("theirs").exists());
    set(&sandbox.vmstore(), 0o755);
    let _ = unprivileged(&sandbox, &["image", "rm", "theirs"]).exits(0);
}

#[test]
fn a_source_that_may_not_be_read() {
    let sandbox = shared();
    set(&sandbox.backend(), 0o777);
    set(&sandbox.backend().join(".working"), 0o777);
    set(&sandbox.path("disk"), 0o000);
    let outcome = unprivileged(&sandbox, &["image", "pull", "new,file=disk"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
error: cannot read the image file 'disk': Permission denied (os error 13)
hint: check its owner and permissions

"#]]
    );
    assert!(sandbox.leftovers().is_empty() && !sandbox.backend().join("new").exists());
    set(&sandbox.path("disk"), 0o644);
    let _ = unprivileged(&sandbox, &["image", "pull", "new,file=disk"]).exits(0);
}

#[test]
fn a_folder_of_work_in_progress_that_another_user_left() {
    let sandbox = shared();
    set(&sandbox.backend(), 0o777);
    set(&sandbox.backend().join(".working"), 0o777);
    // A killed build of another user: it cannot be cleared away, but stops nobody.
    let dead = sandbox.backend().join(".working/.build-dead00");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(".lock"), "99999999\n").unwrap();
    fs::write(dead.join("disk"), "half").unwrap();
    host(["chmod", "-R", "go-rwx", dead.to_str().unwrap()]);
    let _ = unprivileged(&sandbox, &["image", "pull", "new,file=disk"]).exits(0);
    let _ = sandbox.run(["image", "pull", "another,file=disk"]).exits(0);
    assert!(sandbox.leftovers().is_empty(), "its own user clears it away");
}
