//! `transient image check`

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::harness::Sandbox;

const SCRATCH: &str = "FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\n";

#[test]
fn images_that_are_whole() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a%2Fb", "1M");
    sandbox.empty_image("c", "1M");
    let outcome = sandbox.run(["image", "check", "a/b", "c"]).exits(0);
    assert_eq!(outcome.stdout, " NAME  FOUND \n a/b   nothing wrong \n c     nothing wrong \n");
    let outcome = sandbox.run(["image", "check", "c", "--format", "json"]).exits(0);
    let check = &outcome.json_lines()[0][0];
    assert_eq!((&check["name"], &check["sound"]), (&"c".into(), &true.into()));
    assert_eq!((&check["corruptions"], &check["leaks"]), (&0.into(), &0.into()));
}

#[test]
fn images_that_are_not() {
    let sandbox = Sandbox::new();
    for image in ["good", "bad", "overlay"] {
        sandbox.empty_image(image, "1M");
    }
    let bad = File::options().read(true).write(true).open(sandbox.backend().join("bad")).unwrap();
    // The second cluster of an empty image is its refcount table, the third the counts: of the header here.
    bad.write_all_at(&[0, 0], 2 << 16).unwrap();
    sandbox.vm_with_disk("vm", "good");
    fs::copy(sandbox.vmstore().join("vm/vm-0-good"), sandbox.backend().join("overlay")).unwrap();
    let outcome = sandbox.run(["image", "check", "good", "bad", "overlay"]).exits(1);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(lines[1].ends_with("nothing wrong "), "{outcome:#?}");
    assert!(lines[2].contains("corruptions, ") && !lines[2].contains(" 0 corruptions"), "{outcome:#?}");
    assert!(lines[3].contains("it names a backing file"), "{outcome:#?}");
    assert_eq!(outcome.stderr, "");
    let outcome = sandbox.run(["image", "check", "overlay", "--format", "json"]).exits(1);
    let check = &outcome.json_lines()[0][0];
    assert_eq!(check["sound"], false);
    assert!(check["refusal"].as_str().unwrap().contains("backing file"));
    let outcome = sandbox.run(["image", "check", "missing"]).exits(1);
    assert_eq!(outcome.stderr, "No image in backend with name 'missing'\n");
}

#[test]
fn without_qemu_img() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    let output = sandbox.command(["image", "check", "a"]).env("PATH", "/nowhere").output().unwrap();
    let _ = sandbox.outcome(output).exits(1).says(&["Required program 'qemu-img' is not installed"]);
    let fake = sandbox.write("bin/qemu-img", "#!/bin/sh\necho garbage\n");
    fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = sandbox.command(["image", "check", "a"]).env("PATH", sandbox.path("bin")).output().unwrap();
    let _ = sandbox.outcome(output).exits(1).says(&["Command produced garbage: 'qemu-img check'"]);
}

#[test]
fn an_imagefile() {
    let sandbox = Sandbox::new();
    sandbox.write("build/a", "");
    sandbox.write("build/Imagefile", format!("{SCRATCH}COPY a /\n"));
    let good = "no errors in 4 steps from scratch\n";
    let outcome = sandbox.run(["image", "check", "--file", "build/Imagefile"]).exits(0);
    assert_eq!(outcome.stdout, format!("build/Imagefile: {good}"));
    let outcome = sandbox.run(["image", "check", "-f", "build/Imagefile", "build"]).exits(0);
    assert_eq!(outcome.stdout, format!("build/Imagefile: {good}"));
    let output = sandbox.command(["image", "check"]).current_dir(sandbox.path("build")).output().unwrap();
    assert_eq!(sandbox.outcome(output).exits(0).stdout, format!("Imagefile: {good}"));
    let outcome = sandbox.run(["image", "check", "-f", "build/Imagefile", "--format", "json"]).exits(0);
    let expected = serde_json::json!({ "imagefile": "build/Imagefile", "from": "scratch", "steps": 4 });
    assert_eq!(outcome.json_lines(), [expected]);
    // Nothing is made.
    assert!(!sandbox.backend().exists() && fs::read_dir(sandbox.path("build")).unwrap().count() == 2);
    let _ = sandbox.run(["image", "check", "-f", "build/Imagefile", "build", "build"]).exits(2);
    let outcome = sandbox.run(["image", "check", "build"]).exits(1);
    let _ = outcome.says(&["No image in backend with name 'build'", "`image check --file build/Imagefile`"]);
    let _ = sandbox.run(["image", "check"]).exits(1).says(&["there is no Imagefile at 'Imagefile'"]);
}

/// All of them at once, each with its place.
#[test]
fn the_mistakes_of_an_imagefile() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("/etc", sandbox.path("build/link")).unwrap();
    let text = "FROM no_box\nCOPY one /\nADD two link/passwd /\n";
    sandbox.write("build/Imagefile", text);
    let outcome = sandbox.run(["image", "check", "-f", "build/Imagefile"]).exits(1);
    let outcome = outcome.says(&[
        "'build/Imagefile' has 4 errors",
        "Unable to find image 'no_box' in backend",
        "there is no 'one' in the build directory",
        "there is no 'two' in the build directory",
        "'link/passwd' leaves the build directory",
        "--> build/Imagefile:3:1",
    ]);
    assert_eq!(outcome.stdout, "");
    let outcome = sandbox.run(["image", "check", "-f", "build/Imagefile", "--format", "json"]).exits(1);
    let error = &outcome.json_lines()[0]["error"];
    assert_eq!((&error["kind"], &error["location"]["line"]), (&"invalid-imagefile".into(), &1.into()));
    let lines: Vec<_> =
        error["diagnostics"].as_array().unwrap().iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [1, 2, 3, 3]);
    sandbox.write("build/Imagefile", "FROM x\nCPOY a /\n");
    let _ = sandbox.run(["image", "check", "-f", "build/Imagefile"]).exits(1).says(&["did you mean `COPY`"]);
}

/// Whether a source can be had is not tried, but for a file.
#[test]
fn where_an_imagefile_starts() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("there", "1M");
    sandbox.write("disk.raw", [0; 512]);
    for from in
        ["there", "new,file=disk.raw", "new,http=http://127.0.0.1:1/x", "user/box", "there,file=missing"]
    {
        sandbox.write("build/Imagefile", format!("FROM {from}\nRUN true\n"));
        let outcome = sandbox.run(["image", "check", "-f", "build/Imagefile"]).exits(0);
        assert!(outcome.stdout.contains("no errors in 2 steps"), "{outcome:#?}");
    }
    for from in ["new,file=missing", "new", "new,http=ftp://host/x"] {
        sandbox.write("build/Imagefile", format!("FROM {from}\nRUN true\n"));
        let _ = sandbox.run(["image", "check", "-f", "build/Imagefile"]).exits(1).says(&["Imagefile:1:1"]);
    }
}
