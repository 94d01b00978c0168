//! Release 0.25 of the Python tool, from PyPI, at work on the same backend and the same VM store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::fixture::{random, with_tiny};
use crate::harness::{Outcome, Sandbox, host};
use crate::server::{Reply, Server};
use crate::tiny_vm::{TINY_VM, with_tiny_vm};

/// Returns the program of release 0.25.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release-0.25");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/release-0.25.sh");
        host([Path::new(script), &folder]);
        folder.join("bin/transient")
    })
}

fn theirs(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let ours = sandbox.command(arguments);
    let mut command = Command::new(installed());
    command
        .args(arguments)
        .env_clear()
        .envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null());
    command
}

fn run_theirs(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.outcome(theirs(sandbox, arguments).output().unwrap())
}

/// Returns the names in a listing, sorted.
fn names(listing: &Outcome) -> Vec<String> {
    let mut names: Vec<String> = listing
        .stdout
        .lines()
        .filter(|line| line.contains("iB"))
        .map(|line| line.rsplitn(5, char::is_whitespace).last().unwrap().trim().to_owned())
        .map(|line| line.split("  ").next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Both list these images.
#[track_caller]
fn both_list(sandbox: &Sandbox, expected: &[&str]) {
    let ours = sandbox.run(["image", "ls", "--format", "json"]).exits(0);
    assert_eq!(ours.stderr, "");
    let listed: Vec<String> = ours.json_lines()[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, expected, "ours");
    assert_eq!(names(&run_theirs(sandbox, &["image", "ls"]).exits(0)), expected, "theirs");
}

fn with_disk() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("disk", random(1 << 20));
    sandbox
}

#[test]
#[ignore = "needs PyPI"]
fn images_of_each_are_listed_and_removed_by_the_other() {
    let sandbox = with_disk();
    let odd = ["a-b", "box/centos:7.2", "bär x", "it's 100%"];
    for (number, name) in odd.iter().enumerate() {
        let spec = format!("{name},file=disk");
        match number % 2 {
            0 => drop(sandbox.run(["image", "pull", &spec]).exits(0)),
            _ => drop(run_theirs(&sandbox, &["create", "--name", "vm", &spec]).exits(0)),
        }
        let _ = run_theirs(&sandbox, &["rm", "vm"]);
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    both_list(&sandbox, &sorted);
    // Each removes what the other made.
    for (number, name) in odd.iter().enumerate() {
        match number % 2 {
            0 => drop(run_theirs(&sandbox, &["image", "rm", name]).exits(0)),
            _ => drop(sandbox.run(["image", "rm", name]).exits(0)),
        }
        sorted.retain(|left| left != name);
        both_list(&sandbox, &sorted);
        let ours = sandbox.run(["image", "rm", name]).exits(1);
        let theirs = run_theirs(&sandbox, &["image", "rm", name]).exits(1);
        let message = format!("No image in backend with name '{name}'");
        assert_eq!(ours.stderr.lines().next(), Some(&*message));
        assert!(theirs.stderr.contains(&message), "{theirs:#?}");
    }
    assert!(sandbox.leftovers().is_empty());
}

#[test]
#[ignore = "needs PyPI"]
fn a_vm_of_theirs_keeps_its_images() {
    let sandbox = with_disk();
    let _ = sandbox.run(["image", "pull", "box/a-b:1,file=disk", "extra,file=disk"]).exits(0);
    for vm in ["my-vm", "it's"] {
        let create = ["create", "--name", vm, "--extra-image", "extra", "box/a-b:1"];
        let _ = run_theirs(&sandbox, &create).exits(0);
    }
    let words = "is in use by [\"it's\", 'my-vm']";
    for name in ["box/a-b:1", "extra"] {
        let ours = sandbox.run(["image", "rm", name]).exits(1);
        assert_eq!(ours.stderr.lines().next(), Some(&*format!("Backend '{name}' {words}")));
        // The same sentence, but for the order, which is that of the folder.
        let theirs = run_theirs(&sandbox, &["image", "rm", name]).exits(1);
        let other = "is in use by ['my-vm', \"it's\"]";
        let says = |words: &str| theirs.stderr.contains(&format!("Backend '{name}' {words}"));
        assert!(says(words) || says(other), "{theirs:#?}");
    }
    sandbox.write("build/Imagefile", "FROM extra\nRUN true\n");
    let _ = sandbox.run(sandbox.build_arguments("extra", &[])).exits(1).says(&[words]);
    let forced = sandbox.run(["image", "rm", "--force", "extra"]).exits(0);
    assert!(forced.stderr.contains(&format!("warning: Backend 'extra' {words}")), "{forced:#?}");
    for vm in ["my-vm", "it's"] {
        let _ = run_theirs(&sandbox, &["rm", "--force", vm]);
        if sandbox.vmstore().join(vm.replace('-', "%2D").replace('\'', "%27")).exists() {
            panic!("release 0.25 could not remove its VM {vm}");
        }
    }
    let _ = sandbox.run(["image", "rm", "box/a-b:1"]).exits(0);
}

#[test]
#[ignore = "needs PyPI"]
fn a_vm_made_by_hand_keeps_its_image_for_both() {
    let sandbox = with_disk();
    let _ = sandbox.run(["image", "pull", "base,file=disk"]).exits(0);
    sandbox.vm_with_disk("web", "base");
    let config = "image = \"base\"\nname = \"web\"\n";
    fs::write(sandbox.vmstore().join("web/config"), config).unwrap();
    let message = "Backend 'base' is in use by ['web']";
    let ours = sandbox.run(["image", "rm", "base"]).exits(1);
    assert_eq!(ours.stderr.lines().next(), Some(message));
    let theirs = run_theirs(&sandbox, &["image", "rm", "base"]).exits(1);
    assert!(theirs.stderr.contains(message), "{theirs:#?}");
}

#[test]
#[ignore = "needs PyPI"]
fn images_of_ours_are_bases_of_theirs() {
    let sandbox = with_tiny();
    let _ = sandbox.build("built", "FROM tiny\nRUN echo built > /built\n", &[]).exits(0);
    sandbox.write("disk", random(1 << 20));
    let _ = sandbox.run(["image", "pull", "pulled,file=disk"]).exits(0);
    for name in ["built", "pulled"] {
        let _ = run_theirs(&sandbox, &["create", "--name", name, name]).exits(0);
        let disk = sandbox.vmstore().join(format!("{name}/{name}-0-{name}"));
        host(["qemu-img", "check", "-q", "-f", "qcow2", disk.to_str().unwrap()]);
        let image = sandbox.backend().join(name);
        let (disk, image) = (disk.to_str().unwrap(), image.to_str().unwrap());
        host(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", disk, image]);
    }
    both_list(&sandbox, &["built", "pulled", "tiny"]);
}

/// Starts something that pulls `web`, and returns it when the server was asked.
fn start(mut command: Command, server: &Server) -> Child {
    let before = server.asked().len();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while server.asked().len() == before {
        assert!(child.try_wait().unwrap().is_none(), "{:?}", child.wait_with_output());
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
#[ignore = "needs PyPI"]
fn whoever_comes_second_waits_for_the_other() {
    let sandbox = with_disk();
    let content = fs::read(sandbox.path("disk")).unwrap();
    for ours_first in [true, false] {
        let (release, released) = mpsc::channel::<()>();
        let (released, content) = (std::sync::Mutex::new(released), content.clone());
        let server = Server::start(move |_| {
            let _ = released.lock().unwrap().recv();
            Reply::ok(content.clone())
        });
        let name = format!("web{ours_first}");
        let spec = format!("{name},http={}", server.url("/"));
        let pull = sandbox.command(["image", "pull", &spec]);
        let create = theirs(&sandbox, &["create", "--name", &name, &spec]);
        let (first, mut second) = if ours_first { (pull, create) } else { (create, pull) };
        let first = start(first, &server);
        let holder = first.id();
        let second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Meanwhile neither lists it, nor is confused by it.
        std::thread::sleep(Duration::from_secs(2));
        let before: &[&str] = if ours_first { &[] } else { &["webtrue"] };
        both_list(&sandbox, before);
        release.send(()).unwrap();
        let _ = sandbox.outcome(first.wait_with_output().unwrap()).exits(0);
        let second = sandbox.outcome(second.wait_with_output().unwrap()).exits(0);
        if !ours_first {
            let said = format!("note: Waiting for process {holder} (transient), which is at work on image");
            assert!(second.stderr.contains(&said), "{second:#?}");
        }
        assert_eq!(server.asked().len(), 1, "downloaded once");
    }
    both_list(&sandbox, &["webfalse", "webtrue"]);
    assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());
}

#[test]
#[ignore = "needs PyPI"]
fn what_a_killed_one_left_does_not_confuse_the_other() {
    let sandbox = with_disk();
    let server = Server::start(|_| Reply::silent());
    let held = format!("web,http={}", server.url("/"));
    for ours in [true, false] {
        let command = if ours {
            sandbox.command(["image", "pull", &held])
        } else {
            theirs(&sandbox, &["create", "--name", "killed", &held])
        };
        let mut child = start(command, &server);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!sandbox.leftovers().is_empty(), "something is left in .working");
        both_list(&sandbox, &[]);
        if ours {
            let _ = run_theirs(&sandbox, &["create", "--name", "vm", "web,file=disk"]).exits(0);
            let _ = run_theirs(&sandbox, &["rm", "--force", "vm"]);
        } else {
            let _ = sandbox.run(["image", "pull", "web,file=disk"]).exits(0);
        }
        both_list(&sandbox, &["web"]);
        let _ = sandbox.run(["image", "rm", "web"]).exits(0);
        // The next pull of ours clears away what is its own.
        let _ = sandbox.run(["image", "pull", "other,file=disk"]).exits(0);
        let _ = sandbox.run(["image", "rm", "other"]).exits(0);
        assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());
    }
}

#[test]
#[ignore = "needs PyPI"]
fn vms_of_each_are_listed_started_committed_and_removed_by_the_other() {
    let sandbox = with_tiny_vm();
    let made = ["create", "--name", "of-ours", "--ssh", TINY_VM, "--", "-m", "256M"];
    let _ = sandbox.run(made).exits(0);
    let made = ["create", "--name", "of-theirs", "--ssh", TINY_VM, "--", "-m", "256M"];
    let _ = run_theirs(&sandbox, &made).exits(0);
    for listing in [sandbox.run(["ps", "--all"]), run_theirs(&sandbox, &["ps", "--all"])] {
        let listing = listing.exits(0).stdout;
        assert!(listing.contains("of-ours") && listing.contains("of-theirs"), "{listing}");
    }
    let started =
        sandbox.run(["start", "of-theirs", "--ssh-command", "hostname; echo ours > note; sync"]).exits(0);
    assert!(started.stdout.ends_with("\ntiny\n"), "{started:?}");
    // The host key is noted by now, where it does not disturb release 0.25.
    let started = run_theirs(&sandbox, &["start", "of-theirs", "--ssh-command", "cat note"]).exits(0);
    assert!(started.stdout.contains("ours\n"), "{started:?}");
    let started = run_theirs(&sandbox, &["start", "of-ours", "--ssh-command", "echo theirs > note; sync"]);
    let _ = started.exits(0);
    let started = sandbox.run(["start", "of-ours", "--ssh-command", "cat note"]).exits(0);
    assert!(started.stdout.ends_with("\ntheirs\n"), "{started:?}");
    let _ = run_theirs(&sandbox, &["commit", "of-ours", "by-theirs"]).exits(0);
    let _ = sandbox.run(["commit", "of-theirs", "by-ours"]).exits(0);
    both_list(&sandbox, &["by-ours", "by-theirs", TINY_VM]);
    let _ = run_theirs(&sandbox, &["rm", "of-ours"]).exits(0);
    let _ = sandbox.run(["rm", "of-theirs"]).exits(0);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 0);
}

#[test]
#[ignore = "needs PyPI"]
fn vms_that_run_are_listed_reached_and_stopped_by_the_other() {
    let sandbox = with_tiny_vm();
    for ours in [true, false] {
        let arguments = ["run", "--name", "web", TINY_VM, "--ssh-command", "sleep 600", "--", "-m", "256M"];
        let mut command = if ours { sandbox.command(arguments) } else { theirs(&sandbox, &arguments) };
        let mut owner = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Whichever runs it, the other reaches it.
        let reached = if ours {
            run_theirs(&sandbox, &["ssh", "--wait", "web", "--ssh-command", "hostname"])
        } else {
            sandbox.run(["ssh", "--wait", "web", "--ssh-command", "hostname"])
        };
        assert_eq!(reached.exits(0).stdout, "tiny\n");
        for listing in [sandbox.run(["ps", "--pid"]), run_theirs(&sandbox, &["ps", "--pid"])] {
            let listing = listing.exits(0).stdout;
            assert!(listing.contains("web") && listing.contains(&owner.id().to_string()), "{listing}");
        }
        let _ =
            if ours { run_theirs(&sandbox, &["stop", "web"]) } else { sandbox.run(["stop", "web"]) }.exits(0);
        owner.wait().unwrap();
        let _ = if ours { run_theirs(&sandbox, &["rm", "web"]) } else { sandbox.run(["rm", "web"]) }.exits(0);
    }
    assert_eq!(sandbox.run(["ps", "--all", "--format", "json"]).exits(0).stdout, "[]\n");
}
