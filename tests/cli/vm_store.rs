//! VMs of the VM store, from `create` to `rm`.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Sandbox, host};
use crate::tiny_vm::{TINY_VM, with_tiny_vm};
use crate::vm_run::nothing_is_left;

/// Makes a VM of the tiny system.
pub(crate) fn create(sandbox: &Sandbox, name: &str) {
    let made = sandbox.run(["create", "--name", name, TINY_VM, "--", "-m", "256M"]).exits(0);
    assert_eq!(made.stdout, format!("Created VM '{name}'\n"));
}

/// Starts a VM with a command that does not end, and waits until it runs.
pub(crate) fn start_waiting(sandbox: &Sandbox, name: &str) -> Child {
    let mut command = sandbox.command(["start", name, "--cmd", "echo ready; sleep 600"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap() == "ready"), "it ended");
    child
}

fn disk(sandbox: &Sandbox, vm: &str) -> String {
    sandbox.vmstore().join(format!("{vm}/{vm}-0-tiny%2Fvm")).display().to_string()
}

#[test]
fn a_vm_keeps_what_is_written_until_it_is_removed() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let config = fs::read_to_string(sandbox.vmstore().join("web/config")).unwrap();
    assert!(
        config.contains("image = \"tiny/vm\"") && config.contains("qemu_args = [\"-m\", \"256M\"]"),
        "{config}"
    );
    let again = sandbox.run(["create", "--name", "web", TINY_VM]).exits(1);
    assert_eq!(again.stderr.lines().next(), Some("A VM with name web already exists"));
    let _ = sandbox.run(["start", "web", "--cmd", "echo kept > note; exit 4"]).exits(4);
    let started = sandbox.run(["start", "web", "--cmd", "cat note"]).exits(0);
    assert_eq!(started.stdout, "Finished preparation. Starting virtual machine\nkept\n");
    host(["qemu-img", "check", "-q", &disk(&sandbox, "web")]);
    // The host key of the first time is noted, and counts.
    let path = sandbox.vmstore().join("web/config");
    let config = fs::read_to_string(&path).unwrap();
    let (_, key) = config.split_once("# ssh-host-key: ").unwrap();
    assert!(key.starts_with("ssh-ed25519 "), "{config}");
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDz0bLB8V/XJLFWOhCRWQ0EO2dIySyOUNTmbwnxMBBvR\n";
    fs::write(&path, config.replace(key, other)).unwrap();
    let refused = sandbox.run(["start", "web", "--cmd", "true"]).exits(1);
    let _ = refused.says(&["another SSH host key", "# ssh-host-key"]);
    // The image is in use as long as the VM is there.
    let in_use = sandbox.run(["image", "rm", TINY_VM]).exits(1);
    let _ = in_use.says(&["Backend 'tiny/vm' is in use by ['web']"]);
    let _ = sandbox.run(["rm", "web"]).exits(0);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 0);
    for arguments in [&["rm", "web"][..], &["start", "web"], &["commit", "web", "x"], &["cp", "web:/a", "."]]
    {
        let gone = sandbox.run(arguments).exits(1);
        assert_eq!(gone.stderr.lines().next(), Some("No VM with name 'web' found"), "{arguments:?}");
    }
}

#[test]
fn a_vm_that_runs_is_listed_reached_stopped_and_left_alone() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    create(&sandbox, "db");
    let offline = sandbox.run(["ps", "-a", "--ssh", "--pid"]).exits(0);
    assert_eq!(
        offline.stdout,
        " NAME  IMAGE    STATUS   PID    SSH \n db    tiny/vm  Offline       False \n web   tiny/vm  Offline       False \n"
    );
    for command in ["ssh", "stop"] {
        let none = sandbox.run([command, "web"]).exits(1);
        assert_eq!(none.stderr.lines().next(), Some("No running VM found with the name 'web'"));
    }
    let child = start_waiting(&sandbox, "web");
    let running = sandbox.run(["ps", "--pid"]).exits(0).stdout;
    assert!(running.contains("Started 20") && running.contains(&child.id().to_string()), "{running}");
    let listed = &sandbox.run(["ps", "-a", "--format", "json"]).exits(0).json_lines()[0];
    assert_eq!((&listed[0]["name"], &listed[1]["name"]), (&"web".into(), &"db".into()));
    assert_eq!(listed[0]["running"]["pid"].as_u64(), Some(child.id().into()));
    assert!(listed[1]["running"].is_null());

    let reached = sandbox.run(["ssh", "web", "--ssh-command", "hostname; exit 9"]).exits(9);
    assert_eq!(reached.stdout, "tiny\n");
    let message = "Unable to acquire lock for the VM named 'web'\nIt may be in use by another process\n";
    for arguments in [&["start", "web"][..], &["rm", "web"], &["commit", "web", "x"], &["cp", "web:/a", "."]]
    {
        let busy = sandbox.run(arguments).exits(1);
        assert!(busy.stderr.starts_with(message), "{arguments:?}: {busy:?}");
    }
    let begun = Instant::now();
    let _ = sandbox.run(["stop", "web"]).exits(0);
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "the guest shuts down by itself: {:?}",
        begun.elapsed()
    );
    let ended = sandbox.outcome(child.wait_with_output().unwrap()).exits(1);
    assert_eq!(ended.stderr, "error: the VM was stopped\n");
    nothing_is_left(&sandbox);
    // It is free at once.
    let _ = sandbox.run(["rm", "web", "db"]).exits(0);
}

#[test]
fn removing_is_all_or_none_and_by_force_ends_what_runs() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let _ = sandbox.run(["rm", "web", "missing"]).exits(1).says(&["No VM with name 'missing' found"]);
    assert!(sandbox.vmstore().join("web").exists());
    let child = start_waiting(&sandbox, "web");
    let _ = sandbox.run(["rm", "--force", "web"]).exits(0);
    let _ = sandbox.outcome(child.wait_with_output().unwrap()).exits(1);
    nothing_is_left(&sandbox);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 0);
}

#[test]
fn a_vm_is_waited_for_and_killed() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let waiting = sandbox
        .command(["ssh", "web", "--wait", "--cmd", "hostname"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let child = start_waiting(&sandbox, "web");
    let reached = sandbox.outcome(waiting.wait_with_output().unwrap()).exits(0);
    assert_eq!(reached.stdout, "tiny\n");
    let begun = Instant::now();
    let _ = sandbox.run(["stop", "--kill", "web"]).exits(0);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let _ = sandbox.outcome(child.wait_with_output().unwrap()).exits(1);
    nothing_is_left(&sandbox);
}

#[test]
fn a_commit_is_an_image_of_its_own() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let _ = sandbox.run(["start", "web", "--cmd", "echo committed > note; sync"]).exits(0);
    let _ = sandbox.run(["commit", "web", "web/image"]).exits(0);
    let image = sandbox.backend().join("web%2Fimage");
    host(["qemu-img", "check", "-q", image.to_str().unwrap()]);
    assert!(!host(["qemu-img", "info", image.to_str().unwrap()]).contains("backing file"));
    let again = sandbox.run(["commit", "web", "web/image"]).exits(1);
    assert_eq!(again.stderr.lines().next(), Some("An image with the name 'web/image' already exists"));
    let _ = sandbox.run(["rm", "web"]).exits(0);
    let _ = sandbox.run(["image", "rm", TINY_VM]).exits(0);
    let ran = sandbox.run(["run", "web/image", "--cmd", "cat note", "--", "-m", "256M"]).exits(0);
    assert!(ran.stdout.ends_with("\ncommitted\n"), "{ran:?}");
}
