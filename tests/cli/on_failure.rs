//! `--on-failure shell` and `--keep-failed`: the state before a step that failed.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs, with_tiny};
use crate::harness::Sandbox;
use crate::person::Person;
use crate::processes::{is_ready, wait_for};

#[test]
fn a_shell_opens_before_the_step_and_what_it_does_is_not_kept() {
    let sandbox = with_tiny();
    // The step after INSPECT leaves no layer, and its state is there all the same.
    let imagefile = "FROM tiny\nINSPECT\nRUN echo step > /step\nRUN echo part > /part; exit 7\n";
    sandbox.write("build/Imagefile", imagefile);
    let (mut person, terminal) = Person::at_terminal(100, 40);
    let options = ["--on-failure", "shell", "--keep-failed", "kept", "--progress", "plain"];
    let mut command = sandbox.command(sandbox.build_arguments("new", &options));
    command.env("TERM", "vt100").stdin(terminal.try_clone().unwrap());
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut program = command.spawn().unwrap();
    drop(command);

    person.sees("INSPECT");
    person.sees("/ # ");
    person.types("echo by hand > /typed; exit\r");
    person.sees("error: the command ended with exit status 7");
    person.sees("Imagefile:4:1");
    person.sees("note: a shell opens in the state before step 4; nothing done in it is kept");
    person.sees("/ # ");
    person.types("cat /typed /step; ls /part; echo x > /scribble; exit\r");
    person.sees("by hand");
    person.sees("step");
    person.sees("/part: No such file");
    person.sees("note: step 4 failed; the state before it is kept as image 'kept'");
    person.sees("error: the command ended with exit status 7");
    person.sees("hint: the image 'kept' is the state before this step");
    assert_eq!(program.wait().unwrap().code(), Some(1));
    assert!(!sandbox.backend().join("new").exists());
    let root = Disk::open(&sandbox.backend().join("kept")).ext(1);
    assert_eq!((root.read("/typed"), root.read("/step")), ("by hand\n".to_owned(), "step\n".to_owned()));
    for path in ["/part", "/scribble", "/.transient-build"] {
        assert!(!root.has(path), "{path} is in the image");
    }
}

#[test]
fn the_state_before_the_step_is_kept_with_its_history() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo done > /done\nRUN echo part > /part; exit 7\n";
    let keep = ["--keep-failed", "kept"];
    // Before anything is done:
    let shell = sandbox.build("new", imagefile, &["--on-failure", "shell"]).exits(1);
    assert!(shell.stdout.is_empty(), "{shell:?}");
    let _ = shell.says(&["error: a shell on failure needs a terminal", "--keep-failed"]);
    let _ = sandbox.build("kept", imagefile, &keep).exits(1).says(&["give --keep-failed another name"]);

    let failed = sandbox.build("new", imagefile, &keep).exits(1);
    let _ = failed.says(&["exit status 7", "\nhint: the image 'kept' is the state before this step\n"]);
    let root = Disk::open(&sandbox.backend().join("kept")).ext(1);
    assert!(root.has("/done") && !root.has("/part"));
    let history = sandbox.run(["image", "history", "kept"]).exits(0).stdout;
    assert!(history.contains("RUN echo done > /done") && !history.contains("exit 7"), "{history}");
    assert!(!sandbox.backend().join("new").exists());
    assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());

    let taken = sandbox.build("new", imagefile, &keep).exits(1);
    assert!(taken.stdout.is_empty(), "{taken:?}");
    let _ = taken.says(&["An image with the name 'kept' already exists"]);
}

#[test]
fn the_error_of_the_step_stays_when_its_state_cannot_be_kept() {
    let sandbox = with_tiny();
    sandbox.write("build/Imagefile", "FROM tiny\nRUN echo ready; sleep 2; exit 7\n");
    let arguments = sandbox.build_arguments("new", &["--keep-failed", "kept", "--progress", "json"]);
    let mut command = sandbox.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let rest = wait_for(&mut child, is_ready);
    fs::copy(sandbox.backend().join("tiny"), sandbox.backend().join("kept")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let rest = rest.join().unwrap();
    let warning = rest.iter().find(|event| event["event"] == "warning").expect("a warning");
    let message = warning["message"].as_str().unwrap();
    let expected =
        "the state before step 2 is not kept as 'kept': An image with the name 'kept' already exists";
    assert_eq!(message, expected);
    let error = &rest.last().unwrap()["error"];
    assert_eq!((&error["kind"], &error["hints"]), (&"command-failed".into(), &Value::Array(Vec::new())));
}

#[test]
fn what_changed_meanwhile_is_in_the_state_that_is_kept() {
    let sandbox = with_tiny();
    sandbox.write("build/f", "before");
    sandbox.write("build/Imagefile", "FROM tiny\nRUN echo ready; sleep 2\nCOPY f /f\nRUN rm /f; exit 7\n");
    let arguments = sandbox.build_arguments("new", &["--keep-failed", "kept", "--progress", "json"]);
    let mut command = sandbox.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let rest = wait_for(&mut child, is_ready);
    sandbox.write("build/f", "meanwhile");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    rest.join().unwrap();
    assert_eq!(Disk::open(&sandbox.backend().join("kept")).ext(1).read("/f"), "meanwhile");
}

#[test]
fn before_a_disk_is_made_there_is_no_state() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let imagefile = TINY.replace("MOUNT /", "MOUNT / OPTIONS \"--nonsense\"");
    let failed = sandbox.build("new", &imagefile, &["--keep-failed", "kept"]).exits(1);
    let _ = failed.says(&["warning: there is no state before step 3: the disk was still being made"]);
    assert!(!sandbox.backend().join("kept").exists());
}
