//! `transient image import` and `transient image export`

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::harness::{Outcome, Sandbox, host};
use crate::processes::{all_end, descendants, send, wait_for};

/// A sandbox with a disk of 64 MiB, `disk.raw`, of which the first MiBs can hardly be compressed.
fn sandbox(noise: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let raw = File::create(sandbox.path("disk.raw")).unwrap();
    raw.set_len(64 << 20).unwrap();
    let mut state = 1_u32;
    let mut bytes = vec![0; noise << 20];
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    raw.write_all_at(&bytes, 0).unwrap();
    raw.write_all_at(b"the end", (64 << 20) - 7).unwrap();
    fs::create_dir(sandbox.path("out")).unwrap();
    sandbox
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.run(["image"].iter().chain(arguments))
}

#[track_caller]
fn are_same(raw: &Path, other: &Path, format: &str) {
    host(["qemu-img", "compare", "-f", "raw", "-F", format].map(Path::new).into_iter().chain([raw, other]));
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn out_in_every_format_and_back() {
    let sandbox = sandbox(1);
    let disk = sandbox.path("disk.raw");
    let outcome = run(&sandbox, &["import", "disk.raw"]).exits(0);
    assert!(outcome.stdout.starts_with("disk: 64.00 MiB, 1."), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    for (file, format) in [
        ("a.qcow2", "qcow2"),
        ("a.img", "raw"),
        ("a.vmdk", "vmdk"),
        ("a.vhdx", "vhdx"),
        ("a.vdi", "vdi"),
        ("b.raw.gz", ""),
        ("b.raw.xz", ""),
        ("b.raw.zst", ""),
    ] {
        let path = format!("out/{file}");
        let outcome = run(&sandbox, &["export", "disk", &path]).exits(0);
        assert!(outcome.stdout.starts_with(&format!("{path}: ")), "{outcome:?}");
        if !format.is_empty() {
            are_same(&disk, &sandbox.path(&path), format);
        }
        let _ = run(&sandbox, &["import", &path, file]).exits(0);
        are_same(&disk, &sandbox.backend().join(file), "qcow2");
    }
    assert_eq!(files(&sandbox.path("out")).len(), 8);
    assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn formats_and_compression_as_they_are_asked_for() {
    let sandbox = sandbox(0);
    let _ = run(&sandbox, &["import", "disk.raw", "a/b"]).exits(0);
    let _ = run(&sandbox, &["export", "a/b", "out/x", "--format", "vdi"]).exits(0);
    are_same(&sandbox.path("disk.raw"), &sandbox.path("out/x"), "vdi");
    let _ = run(&sandbox, &["export", "a/b", "out/c.qcow2", "--compress"]).exits(0);
    let info = host(["qemu-img", "info", "-f", "qcow2", sandbox.path("out/c.qcow2").to_str().unwrap()]);
    assert!(info.contains("compression type: zstd"), "{info}");
    let _ = run(&sandbox, &["export", "a/b", "out/c.raw", "-c"])
        .exits(1)
        .says(&["no compression of its own", ".zst"]);
    let _ = run(&sandbox, &["export", "a/b", "out/c", "--format", "iso"]).exits(2);
    assert_eq!(files(&sandbox.path("out")), ["c.qcow2", "x"]);
}

#[test]
fn what_is_there_stays() {
    let sandbox = sandbox(0);
    let _ = run(&sandbox, &["import", "disk.raw"]).exits(0);
    let outcome = run(&sandbox, &["import", "disk.raw"]).exits(1);
    assert!(outcome.stderr.starts_with("An image with the name 'disk' already exists\n"), "{outcome:?}");
    let _ = run(&sandbox, &["import", "--force", "disk.raw"]).exits(0);
    sandbox.vm_with_disk("box", "disk");
    let outcome = run(&sandbox, &["import", "--force", "disk.raw"]).exits(1);
    assert!(outcome.stderr.starts_with("Backend 'disk' is in use by ['box']"), "{outcome:?}");
    let _ = run(&sandbox, &["export", "disk", "disk.raw"])
        .exits(1)
        .says(&["error: 'disk.raw' already exists", "by force"]);
    let _ = run(&sandbox, &["export", "disk", "out"]).exits(1).says(&["it is a folder"]);
    let _ = run(&sandbox, &["export", "-f", "disk", "disk.raw"]).exits(0);
    let image = sandbox.backend().join("disk");
    let _ = run(&sandbox, &["export", "-f", "disk", image.to_str().unwrap()]).exits(1).says(&["image tag"]);
    let outcome = run(&sandbox, &["export", "nothing", "out/x"]).exits(1);
    assert!(outcome.stderr.starts_with("No image in backend with name 'nothing'"), "{outcome:?}");
    assert!(files(&sandbox.path("out")).is_empty());
}

#[test]
fn the_standard_input() {
    let sandbox = sandbox(1);
    for (number, input) in
        ["< disk.raw", "< <(gzip < disk.raw)", "< <(sleep 0.1; cat disk.raw)"].into_iter().enumerate()
    {
        let script = format!("exec {} image import - piped{number} {input}", env!("CARGO_BIN_EXE_transient"));
        let command = sandbox.command(["unused"]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let folder = sandbox.path("");
        let mut bash = std::process::Command::new("bash");
        bash.arg("-c").arg(script).env_clear().envs(environment).current_dir(folder);
        let _ = sandbox.outcome(bash.output().unwrap()).exits(0);
        are_same(&sandbox.path("disk.raw"), &sandbox.backend().join(format!("piped{number}")), "qcow2");
    }
    let _ = run(&sandbox, &["import", "-"]).exits(2);
    assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn checksums() {
    let sandbox = sandbox(1);
    let sum = host([Path::new("sha256sum"), &sandbox.path("disk.raw")]);
    let digest = sum.split(' ').next().unwrap();
    let _ = run(&sandbox, &["import", "disk.raw", "--sha256", digest]).exits(0);
    let wrong = "0".repeat(64);
    let _ = run(&sandbox, &["import", "disk.raw", "x", "--sha256", &wrong]).exits(1).says(&[digest, &wrong]);
    let _ =
        run(&sandbox, &["import", "disk.raw", "x", "--sha256", "12"]).exits(2).says(&["2 digits, not 64"]);
}

#[test]
fn events_are_one_object_a_line() {
    let sandbox = sandbox(1);
    let lines = run(&sandbox, &["import", "disk.raw", "--progress", "json"]).exits(0).json_lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["image"]["name"]), (&"pull-finished".into(), &"disk".into()));
    let lines =
        run(&sandbox, &["export", "disk", "out/d.raw.gz", "--progress", "json"]).exits(0).json_lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["path"]), (&"export-finished".into(), &"out/d.raw.gz".into()));
    assert_eq!(last["real_size"].as_u64().unwrap() / (1 << 20), 1);
    let tasks: Vec<_> =
        lines.iter().filter(|line| line["finished"] == true).map(|line| &line["task"]).collect();
    assert_eq!(tasks, ["Exporting disk", "Compressing out/d.raw.gz"]);
    let lines =
        run(&sandbox, &["export", "disk", "out/d.raw.gz", "--progress", "json"]).exits(1).json_lines();
    assert_eq!(lines.last().unwrap()["error"]["kind"], "file-exists");
}

/// Starts work that takes long, and waits until it is under way.
fn under_way(sandbox: &Sandbox, arguments: &[&str], task: &str) -> Child {
    let arguments = ["image"].iter().chain(arguments).chain(&["--progress", "json"]);
    let mut child = sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&mut child, |event| {
        event["event"] == "progress" && event["task"].as_str().unwrap().starts_with(task)
    });
    child
}

#[test]
fn an_export_that_is_ended_leaves_nothing() {
    let sandbox = sandbox(48);
    let _ = run(&sandbox, &["import", "disk.raw"]).exits(0);
    // `xz` takes seconds for this.
    let arguments = ["export", "disk", "out/disk.raw.xz"];
    for (signal, task) in [
        (Signal::INT, "Exporting"),
        (Signal::TERM, "Compressing"),
        (Signal::KILL, "Exporting"),
        (Signal::KILL, "Compressing"),
    ] {
        let mut child = under_way(&sandbox, &arguments, task);
        let processes = descendants(child.id());
        send(child.id(), signal);
        assert!(!child.wait().unwrap().success());
        all_end(&processes);
        let left = files(&sandbox.path("out"));
        match signal {
            // What is left is hidden, and goes with the next export.
            Signal::KILL => {
                assert!(left.iter().all(|file| file.starts_with(".transient-export-")), "{left:?}");
            }
            _ => assert!(left.is_empty(), "{left:?}"),
        }
    }
    let _ = run(&sandbox, &["export", "disk", "out/disk.raw.zst"]).exits(0);
    assert_eq!(files(&sandbox.path("out")), ["disk.raw.zst"]);
}

#[test]
fn an_import_that_is_ended_leaves_nothing() {
    let sandbox = sandbox(48);
    host(["gzip", "-1", "-k", sandbox.path("disk.raw").to_str().unwrap()]);
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = under_way(&sandbox, &["import", "disk.raw.gz"], "Decompressing");
        let processes = descendants(child.id());
        send(child.id(), signal);
        assert!(!child.wait().unwrap().success());
        all_end(&processes);
        assert_eq!(files(&sandbox.backend()), [".working"]);
        assert!(signal == Signal::KILL || sandbox.leftovers().is_empty());
    }
    let _ = run(&sandbox, &["import", "disk.raw.gz"]).exits(0);
    assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new());
    are_same(&sandbox.path("disk.raw"), &sandbox.backend().join("disk"), "qcow2");
}
