//! `image pull`, from servers of the tests' own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use rustix::process::Signal;
use snapbox::{assert_data_eq, str};

use crate::fixture::append;
use crate::harness::{Outcome, Sandbox, host};
use crate::processes::send;
use crate::server::{Reply, Server};

/// Returns a compressed qcow2 image of 1 GiB, in which there is nothing.
fn packed_disk(sandbox: &Sandbox) -> Vec<u8> {
    gzip(&disk(sandbox))
}

fn disk(sandbox: &Sandbox) -> Vec<u8> {
    let path = sandbox.path("disk.qcow2");
    host(["qemu-img", "create", "-q", "-f", "qcow2", path.to_str().unwrap(), "1G"]);
    fs::read(path).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sha256(sandbox: &Sandbox, bytes: &[u8]) -> String {
    let path = sandbox.write("sum", bytes);
    host([Path::new("sha256sum"), &path]).split(' ').next().unwrap().to_owned()
}

fn pull(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.run(["image", "pull"].iter().chain(arguments))
}

#[track_caller]
fn nothing_is_left(sandbox: &Sandbox) {
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    let images = fs::read_dir(sandbox.backend()).into_iter().flatten();
    let images: Vec<_> =
        images.map(|entry| entry.unwrap().file_name()).filter(|name| name != ".working").collect();
    assert!(images.is_empty(), "{images:?}");
    assert!(fs::read_dir(sandbox.path("tmp")).unwrap().next().is_none(), "something is left in TMPDIR");
}

#[test]
fn over_http_and_from_a_file() {
    let sandbox = Sandbox::new();
    let content = packed_disk(&sandbox);
    let digest = sha256(&sandbox, &content);
    let server = Server::start(move |_| Reply::ok(content.clone()));
    let specs = [
        format!("web/1.0,http={},sha256={digest}", server.url("/disk.gz?x=1,y")),
        format!("local,file={}", sandbox.path("disk.qcow2").display()),
    ];
    let outcome = pull(&sandbox, &[&specs[0], &specs[1]]).exits(0);
    assert_data_eq!(
        &outcome.stdout,
        str![[r#"
web/1.0: 1.00 GiB, [..] on disk
local: 1.00 GiB, [..] on disk

"#]]
    );
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'web/1.0' in backend
note: Unable to find image 'local' in backend

"#]]
    );
    let listed = sandbox.run(["image", "ls", "--format", "json"]).exits(0);
    assert_eq!(listed.json_lines()[0].as_array().unwrap().len(), 2);
    // Neither is fetched again.
    let outcome = pull(&sandbox, &[&specs[1], "web/1.0"]).exits(0);
    assert_data_eq!(
        &outcome.stdout,
        str![[r#"
local: already there, 1.00 GiB, [..] on disk
web/1.0: already there, 1.00 GiB, [..] on disk

"#]]
    );
    assert_eq!(outcome.stderr, "");
    assert_eq!(server.asked().len(), 1);
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn events_are_one_object_a_line() {
    let sandbox = Sandbox::new();
    let content = packed_disk(&sandbox);
    let server = Server::start(move |_| Reply::ok(content.clone()));
    let spec = format!("web,http={}", server.url("/disk.gz"));
    let lines = pull(&sandbox, &[&spec, "--progress", "json"]).exits(0).json_lines();
    let of = |kind: &str| lines.iter().filter(|line| line["event"] == kind).collect::<Vec<_>>();
    let tasks: Vec<_> =
        of("progress").iter().filter(|line| line["finished"] == true).map(|line| &line["task"]).collect();
    assert_eq!(tasks[0], &format!("Downloading {}", server.url("/disk.gz")));
    let finished = lines.last().unwrap();
    assert_eq!(finished["event"], "pull-finished");
    assert_eq!((&finished["image"]["name"], &finished["fetched"]), (&"web".into(), &true.into()));
    let lines = pull(&sandbox, &["missing", "--progress", "json"]).exits(1).json_lines();
    assert_eq!(lines.last().unwrap()["error"]["kind"], "image-not-found");
}

#[test]
fn a_vagrant_box() {
    let sandbox = Sandbox::new();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "metadata.json", tar::EntryType::Regular, 0o644, "", b"{\"provider\": \"libvirt\"}");
    append(&mut archive, "box.img", tar::EntryType::Regular, 0o644, "", &disk(&sandbox));
    let content = gzip(&archive.into_inner().unwrap());
    let digest = sha256(&sandbox, &content);
    let server = Server::start(move |asked| match &*asked.path {
        "/api/v2/vagrant/some/box" => Reply::ok(format!(
            r#"{{"name": "some/box", "versions": [{{"version": "3.0.2", "providers": [{{"name": "libvirt",
                "url": "/download", "checksum_type": "sha256", "checksum": "{digest}"}}]}}]}}"#
        )),
        "/download" => Reply::ok(content.clone()),
        _ => Reply::new("404 Not Found", ""),
    });
    let run = |spec: &str| {
        let mut command = sandbox.command(["image", "pull", spec]);
        sandbox.outcome(command.env("VAGRANT_SERVER_URL", server.url("/")).output().unwrap())
    };
    assert!(run("some/box:v3.0.2").exits(0).stdout.starts_with("some/box:v3.0.2: 1.00 GiB"));
    assert!(run("mine,vagrant=some/box").exits(0).stdout.starts_with("mine: 1.00 GiB"));
    let _ = run("some/box:4").exits(1).says(&["there is no version '4'", "hint: there are: 3.0.2"]);
    let _ = run("other/box").exits(1).says(&["has no vagrant box 'other/box'", "VAGRANT_CLOUD_TOKEN"]);
}

#[test]
fn another_file_than_was_meant() {
    let sandbox = Sandbox::new();
    let content = packed_disk(&sandbox);
    let digest = sha256(&sandbox, &content);
    let server = Server::start(move |_| Reply::ok(content.clone()));
    let wrong = "0123456789abcdef".repeat(4);
    let spec = format!("web,http={},sha256={wrong}", server.url("/disk.gz"));
    let _ = pull(&sandbox, &[&spec]).exits(1).says(&["is not the one that was meant", &digest, &wrong]);
    nothing_is_left(&sandbox);
}

#[test]
fn bad_specs_before_anything_is_fetched() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_| Reply::ok(""));
    let good = format!("web,http={}", server.url("/"));
    for (bad, words) in [
        ("x,sha256=12,file=y", "Unknown image source protocol"),
        ("x,http=http://h/,sha256=12", "it has 2 digits, not 64"),
        ("x,flie=y", "did you mean `file`"),
    ] {
        let _ = pull(&sandbox, &[&good, bad]).exits(1).says(&[words]);
    }
    let _ = pull(&sandbox, &["x,http=host/disk.img"]).exits(1).says(&["begins with http:// or https://"]);
    let _ = pull(&sandbox, &["alpine"]).exits(1).says(&["Unable to find image 'alpine' in backend: "]);
    let _ = pull(&sandbox, &[]).exits(2);
    assert!(server.asked().is_empty());
    nothing_is_left(&sandbox);
}

#[test]
fn a_password_is_never_shown() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_| Reply::new("403 Forbidden", ""));
    let url = server.url("/disk?token=secret").replace("http://", "http://me:secret@");
    sandbox.write("build/Imagefile", format!("FROM x,http={url}\nRUN true\n"));
    let outcomes = [
        pull(&sandbox, &[&format!("x,http={url}"), "-vvv"]).exits(1),
        sandbox.run(sandbox.build_arguments("new", &["-vvv"])).exits(1),
    ];
    for outcome in outcomes {
        let outcome = outcome.says(&["403 Forbidden"]);
        assert!(!format!("{outcome:?}").contains("secret"), "{outcome:#?}");
    }
}

#[test]
fn an_interrupt_leaves_nothing() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_| Reply::silent());
    let spec = format!("web,http={}", server.url("/"));
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let before = server.asked().len();
        let mut command = sandbox.command(["image", "pull", &spec]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while server.asked().len() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::yield_now();
        }
        let begun = Instant::now();
        send(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        nothing_is_left(&sandbox);
    }
}

#[test]
fn what_a_kill_leaves_the_next_pull_removes() {
    let sandbox = Sandbox::new();
    let content = packed_disk(&sandbox);
    let server = Server::start(move |asked| match asked.number {
        1 => Reply::silent(),
        _ => Reply::ok(content.clone()),
    });
    let spec = format!("web,http={}", server.url("/"));
    let mut command: Command = sandbox.command(["image", "pull", &spec]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while server.asked().is_empty() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!sandbox.leftovers().is_empty());
    let _ = pull(&sandbox, &[&spec]).exits(0);
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
}
