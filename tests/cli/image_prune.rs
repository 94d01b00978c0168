//! `transient image prune`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use snapbox::{assert_data_eq, str};

use crate::harness::{Outcome, Sandbox};

/// A sandbox with an image that a VM uses, two that none does, and abandoned work.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for image in ["used", "old", "young"] {
        sandbox.empty_image(image, "1M");
    }
    let past = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    fs::File::open(sandbox.backend().join("old")).unwrap().set_modified(past).unwrap();
    sandbox.vm_with_disk("box", "used");
    let dead = sandbox.backend().join(".working/.build-dead00");
    fs::create_dir_all(&dead).unwrap();
    fs::write(dead.join(".lock"), "4711\n").unwrap();
    fs::write(dead.join("disk"), vec![1; 1 << 20]).unwrap();
    sandbox
}

fn prune(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.run(["image", "prune"].iter().chain(arguments))
}

fn images(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.run(["image", "ls", "--format", "json"]).exits(0).json_lines();
    let names = listed[0].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn abandoned_work() {
    let sandbox = sandbox();
    let outcome = prune(&sandbox, &["--dry-run"]).exits(0);
    assert_data_eq!(
        outcome.stdout,
        str![[r#"
Would remove [ROOT]/home/.local/share/transient/backend/.working/.build-dead00
Would free 1.00 MiB

"#]]
    );
    assert_eq!(sandbox.leftovers().len(), 1);
    assert_data_eq!(
        prune(&sandbox, &[]).exits(0).stdout,
        str![[r#"
Removed [ROOT]/home/.local/share/transient/backend/.working/.build-dead00
Freed 1.00 MiB

"#]]
    );
    assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(images(&sandbox), ["old", "used", "young"]);
    assert_eq!(prune(&sandbox, &[]).exits(0).stdout, "Freed 0.00 B\n");
}

#[test]
fn images_only_with_consent() {
    let sandbox = sandbox();
    let _ = prune(&sandbox, &["--all"]).exits(1).says(&["no terminal to ask on", "hint: --force"]);
    let outcome = prune(&sandbox, &["--all", "--format", "json"]).exits(1);
    assert_eq!(outcome.json_lines()[0]["error"]["kind"], "not-a-terminal");
    assert_eq!((images(&sandbox).len(), sandbox.leftovers().len()), (3, 1), "nothing was removed");
    let outcome = prune(&sandbox, &["--all", "--older-than", "7d", "-y"]).exits(0);
    assert!(outcome.stdout.contains("Removed image old\n"), "{outcome:?}");
    assert_eq!(images(&sandbox), ["used", "young"]);
    let outcome = prune(&sandbox, &["-af", "--format", "json"]).exits(0);
    let line = &outcome.json_lines()[0];
    assert_eq!(line["images"][0]["name"], "young");
    assert!(line["freed"].as_u64().unwrap() > 0 && line["leftovers"].as_array().unwrap().is_empty());
    assert_eq!(images(&sandbox), ["used"]);
    let _ = prune(&sandbox, &["--older-than", "7d"]).exits(2);
    let _ = prune(&sandbox, &["--all", "--older-than", "7"]).exits(2);
}

/// Runs a prune of all images on a terminal, where something is typed.
fn on_a_terminal(sandbox: &Sandbox, typed: &str) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_transient");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("{program} image prune --all"), "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", sandbox.path("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_terminal_is_asked() {
    let sandbox = sandbox();
    let (success, shown) = on_a_terminal(&sandbox, "n\n");
    assert!(!success && shown.contains("young") && shown.contains("nothing was removed"), "{shown}");
    assert!(!shown.contains(" used "), "{shown}");
    assert_eq!(images(&sandbox).len(), 3);
    let (success, shown) = on_a_terminal(&sandbox, "y\n");
    assert!(success && shown.contains("Removed image young"), "{shown}");
    assert_eq!(images(&sandbox), ["used"]);
}

#[test]
fn the_work_of_the_living() {
    let sandbox = sandbox();
    let working = sandbox.backend().join(".working");
    let mut holder = hold(&working.join(".build-dead00/.lock"));
    let _ = prune(&sandbox, &["--all", "-y"]).exits(0);
    assert!(working.join(".build-dead00/disk").exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let _ = prune(&sandbox, &[]).exits(0);
    assert!(!working.join(".build-dead00").exists());
}

/// Returns another process, which holds this lock.
fn hold(lock: &Path) -> std::process::Child {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new("flock")
        .arg("-F")
        .arg(lock)
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    child
}
