//! `transient image inspect`

use std::fs;

use serde_json::Value;

use crate::fixture::with_tiny;
use crate::harness::{Sandbox, host};
use crate::server::{Reply, Server};

/// Returns a sandbox whose backend has `web`, pulled from a file.
fn pulled() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.empty_image("source", "1M");
    fs::rename(sandbox.backend().join("source"), sandbox.path("disk.qcow2")).unwrap();
    let _ = sandbox.run(["image", "pull", "web,file=disk.qcow2"]).exits(0);
    sandbox
}

fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let outcome = sandbox.run(["image", "inspect", name, "--format", "json"]).exits(0);
    assert_eq!(outcome.stderr, "");
    outcome.json_lines()[0][0].clone()
}

#[test]
fn an_image_of_another_program() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a%2Fb", "1M");
    sandbox.vm_with_disk("web", "a%2Fb");
    let outcome = sandbox.run(["image", "inspect", "a/b"]).exits(0);
    for line in [
        "name          a/b\n",
        "path          [ROOT]/home/.local/share/transient/backend/a%2Fb\n",
        "format        qcow2\n",
        "cluster size  64.00 KiB\n",
        "virtual size  1.00 MiB\n",
        "made by       unknown\n",
        "VMs           web\n",
    ] {
        assert!(outcome.stdout.contains(line), "{line:?} is not in {outcome:#?}");
    }
    let image = inspect(&sandbox, "a/b");
    assert_eq!((&image["compat"], &image["compression"]), (&"1.1".into(), &"zlib".into()));
    assert_eq!((&image["provenance"], &image["vms"][0]), (&Value::Null, &"web".into()));
}

#[test]
fn several_images_and_one_that_is_missing() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("a", "1M");
    sandbox.empty_image("b", "2M");
    let outcome = sandbox.run(["image", "inspect", "b", "a"]).exits(0);
    let names: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with("name")).collect();
    assert_eq!(names, ["name          b", "name          a"]);
    let outcome = sandbox.run(["image", "inspect", "a", "missing"]).exits(1);
    assert_eq!(outcome.stderr, "No image in backend with name 'missing'\n");
    assert_eq!(outcome.stdout, "");
    let outcome = sandbox.run(["image", "inspect", "missing", "--format", "json"]).exits(1);
    assert_eq!(outcome.json_lines()[0]["error"]["kind"], "image-not-found");
}

#[test]
fn a_pulled_image_tells_where_it_is_from() {
    let sandbox = pulled();
    let image = inspect(&sandbox, "web");
    let provenance = &image["provenance"];
    assert_eq!((&provenance["kind"], &provenance["format"]), (&"pull".into(), &"qcow2".into()));
    assert_eq!(provenance["spec"], "web,file=disk.qcow2");
    assert_eq!(image["parent"], Value::Null);
    let outcome = sandbox.run(["image", "inspect", "web"]).exits(0);
    assert!(outcome.stdout.contains("\nspec          web,file=disk.qcow2\n"), "{outcome:#?}");
    // Its record is no image, here or in release 0.25, and goes with it.
    assert!(sandbox.backend().join(".provenance/web").exists());
    let outcome = sandbox.run(["image", "ls"]).exits(0);
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (2, ""));
    let _ = sandbox.run(["image", "rm", "web"]).exits(0);
    assert!(!sandbox.backend().join(".provenance/web").exists());
}

#[test]
fn nothing_is_known_of_an_image_that_took_its_place() {
    let sandbox = pulled();
    fs::remove_file(sandbox.backend().join("web")).unwrap();
    sandbox.empty_image("web", "1M");
    assert_eq!(inspect(&sandbox, "web")["provenance"], Value::Null);
}

#[test]
fn a_damaged_record_is_a_warning() {
    let sandbox = pulled();
    fs::write(sandbox.backend().join(".provenance/web"), "{ \u{1b}").unwrap();
    let outcome = sandbox.run(["image", "inspect", "web"]).exits(0).says(&["warning: ", ".provenance/web"]);
    assert!(outcome.stdout.contains("made by       unknown\n"), "{outcome:#?}");
    let _ = sandbox.run(["image", "history", "web"]).exits(0).says(&["warning: ", "is damaged"]);
    assert_eq!(sandbox.run(["image", "ls"]).exits(0).stderr, "");
}

#[test]
fn no_secret_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("source", "1M");
    let disk = fs::read(sandbox.backend().join("source")).unwrap();
    let server = Server::start(move |_| Reply::ok(disk.clone()));
    let url = server.url("/disk.qcow2").replace("http://", "http://me:s3cret@");
    let spec = format!("web,http={url}?token=s3cret");
    let _ = sandbox.run(["image", "pull", &spec]).exits(0);
    let record = fs::read_to_string(sandbox.backend().join(".provenance/web")).unwrap();
    assert!(record.contains("/disk.qcow2") && !record.contains("s3cret"), "{record}");
}

#[test]
fn a_built_image_tells_how() {
    let sandbox = with_tiny();
    let imagefile = "FROM tiny\nRUN echo \\\n  http://me:s3cret@host/?token=s3cret > /kept\n";
    let _ = sandbox.build("child/1", imagefile, &[]).exits(0);
    let image = inspect(&sandbox, "child/1");
    assert_eq!(image["parent"], "tiny");
    let provenance = &image["provenance"];
    assert_eq!((&provenance["kind"], &provenance["parent"]["name"]), (&"build".into(), &"tiny".into()));
    let parent = fs::metadata(sandbox.backend().join("tiny")).unwrap();
    assert_eq!(provenance["parent"]["length"], parent.len());
    assert!(["kvm", "tcg"].contains(&provenance["accelerator"].as_str().unwrap()));
    assert_eq!(provenance["appliance"].as_str().unwrap().len(), 64);
    let record = fs::read_to_string(sandbox.backend().join(".provenance/child%2F1")).unwrap();
    assert!(!record.contains("s3cret"), "{record}");
    assert!(sandbox.leftovers().is_empty());

    // The steps stay known when the parent is gone, and are passed on.
    let _ = sandbox.run(["image", "rm", "tiny"]).exits(0);
    let _ = sandbox.build("child/2", "FROM child/1\nRUN true\n", &[]).exits(0);
    let outcome = sandbox.run(["image", "history", "child/2", "--format", "json"]).exits(0);
    let steps = outcome.json_lines()[0].clone();
    let seen: Vec<_> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["image"].as_str().unwrap(), step["instruction"].as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("child/2", "RUN true"),
            ("child/2", "FROM child/1"),
            ("child/1", "RUN echo    http://host/ > /kept"),
            ("child/1", "FROM tiny"),
        ]
    );
    assert!(steps[0]["elapsed"].as_f64().unwrap() > 0.0);
    assert!(host(["date", "-d", steps[0]["finished"].as_str().unwrap(), "+%s"]).trim().len() >= 10);
    assert_eq!(inspect(&sandbox, "child/2")["provenance"]["parent"]["id"], provenance["id"]);
}
