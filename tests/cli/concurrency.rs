//! Several processes that want the same name: one works, the others wait, say for whom, and go on with its result.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::with_tiny;
use crate::harness::{Sandbox, host};
use crate::processes::{is_ready, send, wait_for};
use crate::server::{Reply, Server};

/// A program of ours that runs; its stderr is read as it comes.
struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    read: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, read: String::new() }
    }

    /// Reads until it says that it waits for this process.
    #[track_caller]
    fn waits_for(&mut self, holder: u32, what: &str) {
        let wanted = format!("note: Waiting for process {holder} (transient), which is at work on {what}\n");
        while !self.read.contains(&wanted) {
            assert_ne!(self.stderr.read_line(&mut self.read).unwrap(), 0, "{wanted} is not in {}", self.read);
        }
    }

    #[track_caller]
    fn ends(mut self, status: i32) -> String {
        while self.stderr.read_line(&mut self.read).unwrap() > 0 {}
        assert_eq!(self.child.wait().unwrap().code(), Some(status), "{}", self.read);
        self.read
    }
}

fn disk(sandbox: &Sandbox) -> Vec<u8> {
    let path = sandbox.path("disk.qcow2");
    host(["qemu-img", "create", "-q", "-f", "qcow2", path.to_str().unwrap(), "1G"]);
    fs::read(path).unwrap()
}

/// A server that answers its first request, for this content, only when it is told to.
fn held(content: Vec<u8>) -> (Server, Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |asked| {
        if asked.number == 1 {
            let _ = released.lock().unwrap().recv();
        }
        Reply::ok(content.clone())
    });
    (server, release)
}

fn until_asked(server: &Server) {
    while server.asked().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn pulls_of_one_name_wait_and_use_what_one_pulled() {
    let sandbox = Sandbox::new();
    let (server, release) = held(disk(&sandbox));
    let spec = format!("web,http={}", server.url("/"));
    let pull = || Running::start(sandbox.command(["image", "pull", &spec]));
    let first = pull();
    until_asked(&server);
    let mut others = [pull(), pull(), pull()];
    for other in &mut others {
        other.waits_for(first.child.id(), "image 'web'");
    }
    assert_eq!(
        sandbox.run(["image", "ls", "--format", "json"]).exits(0).stdout.trim(),
        "[]",
        "no part is seen"
    );
    release.send(()).unwrap();
    first.ends(0);
    for other in others {
        let said = other.ends(0);
        assert_eq!(said.matches("Waiting").count(), 1, "said once: {said}");
    }
    assert_eq!(server.asked().len(), 1);
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn who_waits_goes_on_at_once_when_the_holder_is_killed() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), disk(&sandbox)).unwrap();
    let server = Server::start(|_| Reply::silent());
    let spec = format!("web,http={}", server.url("/"));
    let mut holder = Running::start(sandbox.command(["image", "pull", &spec]));
    until_asked(&server);
    let mut waiter = Running::start(sandbox.command(["image", "pull", "web,file=disk"]));
    waiter.waits_for(holder.child.id(), "image 'web'");
    let begun = Instant::now();
    holder.child.kill().unwrap();
    waiter.ends(0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    holder.child.wait().unwrap();
    assert!(sandbox.leftovers().is_empty(), "what the killed one left is gone as well");
}

#[test]
fn who_waits_can_be_interrupted() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_| Reply::silent());
    let spec = format!("web,http={}", server.url("/"));
    let mut holder = Running::start(sandbox.command(["image", "pull", &spec]));
    until_asked(&server);
    let mut waiter = Running::start(sandbox.command(["image", "pull", &spec]));
    waiter.waits_for(holder.child.id(), "image 'web'");
    send(waiter.child.id(), Signal::INT);
    waiter.ends(130);
    assert!(holder.child.try_wait().unwrap().is_none(), "the other works on");
    send(holder.child.id(), Signal::INT);
    holder.ends(130);
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn a_build_waits_for_one_of_its_name_and_replaces_its_image() {
    let sandbox = with_tiny();
    let mut first = sandbox.start_build("it", "FROM tiny\nRUN echo ready; echo 1 > /first\nRUN sleep 2\n");
    let events = wait_for(&mut first, is_ready);
    sandbox.write("build/other", "FROM tiny\nRUN echo 2 > /second\n");
    let mut second =
        Running::start(sandbox.command(sandbox.build_arguments("it", &["--file", "build/other"])));
    second.waits_for(first.id(), "image 'it'");
    assert!(first.wait().unwrap().success());
    events.join().unwrap();
    second.ends(0);
    let root = crate::disk::Disk::open(&sandbox.backend().join("it")).ext(1);
    assert!(root.has("/second") && !root.has("/first"), "the second one replaced the first");
    assert!(sandbox.leftovers().is_empty());
}

/// A build with something in the place of QEMU that ends at once: it gets as far as its boot.
fn build_without_qemu(sandbox: &Sandbox, name: &str, imagefile: &str) -> Command {
    let file = format!("build/{name}.imagefile");
    sandbox.write(&file, imagefile);
    let more = ["--file", &file, "--qemu-bin-name", "/bin/false", "--accel", "tcg"];
    sandbox.command(sandbox.build_arguments(name, &more))
}

#[test]
fn a_from_waits_for_a_pull_and_uses_its_image() {
    let sandbox = Sandbox::new();
    let (server, release) = held(disk(&sandbox));
    let spec = format!("web,http={}", server.url("/"));
    let pull = Running::start(sandbox.command(["image", "pull", &spec]));
    until_asked(&server);
    let build = build_without_qemu(&sandbox, "new", &format!("FROM {spec}\nRUN true\n"));
    let mut build = Running::start(build);
    build.waits_for(pull.child.id(), "image 'web'");
    release.send(()).unwrap();
    pull.ends(0);
    let said = build.ends(1);
    assert!(said.contains("QEMU ended before its time"), "it came to its boot: {said}");
    assert_eq!(server.asked().len(), 1);
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn a_build_on_an_image_of_its_own_name_does_not_wait_for_itself() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("disk"), disk(&sandbox)).unwrap();
    let mut build = build_without_qemu(&sandbox, "it", "FROM it,file=disk\nRUN true\n");
    let output = within_a_minute(build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let _ = sandbox.outcome(output).exits(1).says(&["QEMU ended before its time"]);
}

#[test]
fn builds_on_the_images_of_each_other_do_not_wait_for_ever() {
    let sandbox = Sandbox::new();
    let content = disk(&sandbox);
    // Both are under way before either gets its base image.
    let both = std::sync::Barrier::new(2);
    let server = Server::start(move |_| {
        both.wait();
        Reply::ok(content.clone())
    });
    let start = |name: &str, base: &str| {
        let imagefile = format!("FROM {base},http={}\nRUN true\n", server.url("/"));
        let mut build = build_without_qemu(&sandbox, name, &imagefile);
        build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for build in [start("one", "other"), start("other", "one")] {
        let _ = sandbox.outcome(within_a_minute(build)).exits(1).says(&["QEMU ended before its time"]);
    }
    assert!(sandbox.leftovers().is_empty());
}

#[track_caller]
fn within_a_minute(mut child: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it waits for ever: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn of_removals_at_once_each_finds_it_gone_or_not_there() {
    let sandbox = Sandbox::new();
    for _ in 0..5 {
        sandbox.empty_image("it", "1M");
        let start = || {
            let mut command = sandbox.command(["image", "rm", "it"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let outcomes = [start(), start(), start(), start()]
            .map(|child| sandbox.outcome(child.wait_with_output().unwrap()));
        assert!(outcomes.iter().any(|outcome| outcome.code == Some(0)), "{outcomes:#?}");
        for outcome in outcomes {
            let unknown = outcome.stderr.starts_with("No image in backend with name 'it'");
            assert!(outcome.code == Some(0) || (outcome.code == Some(1) && unknown), "{outcome:#?}");
        }
        assert!(!sandbox.backend().join("it").exists());
    }
}
