//! `transient image ls`

use std::fs;
use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use crate::harness::Sandbox;

#[test]
fn empty_backend() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(["image", "ls"]).exits(0);
    assert_eq!(outcome.stdout, " NAME  VIRT SIZE  REAL SIZE \n");
    assert_eq!(outcome.stderr, "");
    assert!(!sandbox.backend().exists(), "listing makes nothing");
}

#[test]
fn table() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("generic%2Falpine38%3Av3.0.2", "32G");
    sandbox.empty_image("alpine_rel3", "20G");
    sandbox.empty_image("centos%2F7%3A2004.01", "40G");
    sandbox.empty_image("small", "512");
    // Neither of these is an image.
    fs::write(sandbox.backend().join("vm-0-alpine_rel3"), "").unwrap();
    fs::create_dir(sandbox.backend().join(".working")).unwrap();
    let outcome = sandbox.run(["image", "ls"]).exits(0);
    // What an empty qcow2 file occupies is the filesystem's affair.
    let widths: Vec<usize> = outcome.stdout.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{outcome:?}");
    let table: String = outcome.stdout.lines().map(|line| line[..38].to_owned() + "\n").collect();
    assert_data_eq!(
        table,
        str![[r#"
 NAME                     VIRT SIZE   
 alpine_rel3              20.00 GiB  1
 centos/7:2004.01         40.00 GiB  1
 generic/alpine38:v3.0.2  32.00 GiB  1
 small                     512.00 B  1

"#]]
    );
}

#[test]
fn columns_align_under_wide_names() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("%C3%A9t%C3%A9", "1T");
    let outcome = sandbox.run(["image", "ls"]).exits(0);
    assert!(outcome.stdout.starts_with(" NAME  VIRT SIZE   REAL SIZE \n été    1.00 TiB  "), "{outcome:?}");
}

#[test]
fn backend_by_flag_and_by_environment() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    fs::rename(sandbox.backend(), sandbox.path("elsewhere")).unwrap();
    let by_flag = sandbox.run(["image", "ls", "--image-backend", "elsewhere"]).exits(0);
    assert!(by_flag.stdout.contains("\n a "), "{by_flag:?}");
    let output = sandbox.command(["image", "ls"]).env("TRANSIENT_BACKEND", "elsewhere").output().unwrap();
    assert_eq!(sandbox.outcome(output).stdout, by_flag.stdout);
}

#[test]
fn json() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a%2Db", "1M");
    let outcome = sandbox.run(["image", "ls", "--format", "json"]).exits(0);
    let list: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(list[0]["name"], "a-b");
    assert_eq!(list[0]["virtual_size"], 1 << 20);
    assert!(list[0]["real_size"].as_u64().unwrap() > 0);
    assert_eq!(list[0]["path"], "[ROOT]/home/.local/share/transient/backend/a%2Db");
}

#[test]
fn a_broken_image_is_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("whole", "1M");
    fs::write(sandbox.backend().join("broken"), "no qcow2").unwrap();
    let outcome = sandbox.run(["image", "ls"]).exits(0).says(&["warning: ", "broken"]);
    assert!(outcome.stdout.contains(" whole "), "{outcome:?}");
    assert!(!outcome.stdout.contains("broken"), "{outcome:?}");
}

#[test]
fn a_backend_that_is_no_folder_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let outcome = sandbox.run(["image", "ls", "--image-backend", "file"]).exits(1);
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    let outcome = sandbox.run(["image", "ls", "--image-backend", "file", "--format", "json"]).exits(1);
    assert_eq!(outcome.json_lines()[0]["error"]["kind"], "io");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_reader_that_is_gone_gets_no_complaint() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["image", "ls"]);
    // The other end of the pipe is closed before anything is written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    let outcome = sandbox.outcome(output).exits(141);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn no_program_is_needed() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    let output = sandbox.command(["image", "ls"]).env("PATH", "/nowhere").output().unwrap();
    let outcome = sandbox.outcome(output).exits(0);
    assert!(outcome.stdout.contains(" a "), "{outcome:?}");
}
