//! `--explain`: why a step is carried out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use snapbox::{assert_data_eq, str};

use crate::fixture::with_tiny;
use crate::harness::Sandbox;

const IMAGEFILE: &str = "FROM tiny\nRUN true\nCOPY site /srv\n";

/// Builds where no VM can be booted, and returns what is explained.
fn explained(sandbox: &Sandbox, imagefile: &str) -> String {
    let qemu = ["--explain", "--qemu-bin-name", "/nonexistent/qemu"];
    let outcome = sandbox.build("web", imagefile, &qemu).exits(1);
    let (explained, _) = outcome.stderr.split_once("Required program").expect("it is not there");
    explained.to_owned()
}

fn site(sandbox: &Sandbox) {
    for file in ["index.html", "start.sh", "old.html"] {
        let path = sandbox.write(&format!("build/site/{file}"), file);
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    symlink("index.html", sandbox.path("build/site/home")).unwrap();
}

#[test]
fn what_differs_from_the_last_build_is_named() {
    let sandbox = with_tiny();
    site(&sandbox);
    let first = sandbox.build("web", IMAGEFILE, &["--explain"]).exits(0);
    let none = "explain: step 2 is carried out and there is no earlier build of 'web' to compare with\n";
    assert!(first.stderr.contains(none), "{first:?}");
    sandbox.write("build/site/index.html", "password");
    fs::set_permissions(sandbox.path("build/site/start.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(sandbox.path("build/site/old.html")).unwrap();
    sandbox.write("build/site/new.html", "");
    fs::remove_file(sandbox.path("build/site/home")).unwrap();
    symlink("new.html", sandbox.path("build/site/home")).unwrap();
    assert_data_eq!(
        explained(&sandbox, IMAGEFILE),
        str![[r#"
explain: step 3 is carried out because it differs from the last build of 'web':
  the digest of the target of the link 'site/home' was 80c7dd78cd9f, and is 60010a5a6dbf
  the digest of the bytes of 'site/index.html' was 80c7dd78cd9f, and is 7f2611ba158b
  'site/new.html' was added
  'site/old.html' was removed
  the mode of 'site/start.sh' was 0644, and is 0755

"#]]
    );

    // That one failed, and counts all the same.
    let again = explained(&sandbox, IMAGEFILE);
    assert!(
        again.starts_with("explain: step 3 is carried out though nothing differs from the last"),
        "{again}"
    );
    let other = explained(&sandbox, &IMAGEFILE.replace("true", "echo \u{1b}"));
    assert!(other.contains("\n  the instruction was 'RUN true', and is 'RUN echo \\u{1b}'\n"), "{other}");
    // Of what cannot be read nothing is known.
    for build in fs::read_dir(sandbox.cache().join("builds")).unwrap() {
        fs::write(build.unwrap().path(), "{").unwrap();
    }
    let damaged = explained(&sandbox, &IMAGEFILE.replace("true", "false"));
    assert!(damaged.contains("there is no earlier build of 'web'"), "{damaged}");
}

#[test]
fn programs_get_it_as_fields() {
    let sandbox = with_tiny();
    site(&sandbox);
    let json = ["--explain", "--progress", "json"];
    let explanation = |imagefile: &str, more: &[&str], code| {
        let outcome = sandbox.build("web", imagefile, &[&json, more].concat()).exits(code);
        outcome.json_lines().into_iter().find(|event| event["event"] == "explanation").expect("explained")
    };
    let _ = explanation(IMAGEFILE, &[], 0);
    let cached = explanation(IMAGEFILE, &[], 0);
    assert!(cached["step"].is_null() && cached["differences"].as_array().unwrap().is_empty());
    assert_eq!(cached["reason"], "every step is in the cache");
    let no_vm = ["--qemu-bin-name", "/nonexistent/qemu"];
    fs::set_permissions(sandbox.path("build/site/start.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let changed = explanation(IMAGEFILE, &no_vm, 1);
    assert_eq!((&changed["step"], &changed["more"]), (&3.into(), &0.into()));
    let difference = &changed["differences"][0];
    assert_eq!((&difference["kind"], &difference["path"]), (&"mode".into(), &"site/start.sh".into()));
    assert_eq!((&difference["before"], &difference["now"]), (&"0644".into(), &"0755".into()));
}
