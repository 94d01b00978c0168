//! Usage errors: exit status 2, and words that scripts know.

use snapbox::{assert_data_eq, str};

use crate::harness::Sandbox;

fn usage_error(words: &str) -> String {
    let outcome = Sandbox::new().run(words.split_whitespace()).exits(2);
    assert_eq!(outcome.stdout, "");
    outcome.stderr
}

#[test]
fn unknown_flag() {
    assert_data_eq!(
        usage_error("image ls --bogus"),
        str![[r#"
error: unrecognized arguments: --bogus

Usage: transient image ls [OPTIONS]

For more information, try '--help'.

"#]]
    );
}

#[test]
fn unknown_flag_like_a_known_one() {
    assert_data_eq!(
        usage_error("image ls --fromat json"),
        str![[r#"
error: unrecognized arguments: --fromat
hint: a similar argument exists: --format

Usage: transient image ls --format <FORMAT>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn a_word_too_many() {
    assert_data_eq!(
        usage_error("image ls centos"),
        str![[r#"
error: unrecognized arguments: centos

Usage: transient image ls [OPTIONS]

For more information, try '--help'.

"#]]
    );
}

#[test]
fn unknown_subcommand() {
    assert_data_eq!(
        usage_error("image lst"),
        str![[r#"
error: unrecognized subcommand 'lst'

  tip: a similar subcommand exists: 'ls'

Usage: transient image [OPTIONS] <COMMAND>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn build_needs_a_name() {
    assert_data_eq!(
        usage_error("image build ."),
        str![[r#"
error: the following required arguments were not provided:
  --name <NAME>

Usage: transient image build --name <NAME> <BUILD_DIR>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn rm_needs_a_name() {
    assert_data_eq!(
        usage_error("image rm"),
        str![[r#"
error: the following required arguments were not provided:
  <NAME>...

Usage: transient image rm <NAME>...

For more information, try '--help'.

"#]]
    );
}

#[test]
fn values_are_checked() {
    for words in
        ["--cpus 0", "--memory lots", "--qmp-timeout 0", "--ssh-timeout soon", "--accel hvf", "--network lan"]
    {
        let stderr = usage_error(&format!("image build --name a . {words}"));
        let flag = words.split(' ').next().unwrap();
        assert!(stderr.starts_with("error: invalid value") && stderr.contains(flag), "{stderr}");
    }
}

#[test]
fn verbose_stands_anywhere() {
    let sandbox = Sandbox::new();
    for words in ["-v image ls", "image -v ls", "image ls -v", "image ls -vvv", "--verbose image ls"] {
        let _ = sandbox.run(words.split(' ')).exits(0);
    }
}

#[test]
fn version() {
    let outcome = Sandbox::new().run(["--version"]).exits(0);
    assert_eq!(outcome.stdout, format!("transient {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_home_is_said() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(["image", "ls"]).env_remove("HOME").output().unwrap();
    let outcome = sandbox.outcome(output).exits(1).says(&["HOME"]);
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
}
