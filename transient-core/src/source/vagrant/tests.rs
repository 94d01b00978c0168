use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::GzEncoder;

use crate::event::Reporter;
use crate::image::Image;
use crate::process::qemu_img;
use crate::source::bring_in;
use crate::source::http::server::{Asked, Reply, Server};
use crate::{CancelToken, Error, ErrorKind, Locations, Store};

const BOX: &str = "/boxes/one.box";

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a qcow2 image of so many MiB.
    fn disk(&self, name: &str, size: u64) -> PathBuf {
        let path = self.at(name);
        qemu_img::create_empty(&path, size << 20, &CancelToken::new()).expect("made");
        path
    }

    /// Packs files of the fixture's folder as GNU tar does.
    fn packed(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("tar");
        command.arg("--create").arg("--directory").arg(self.folder.path()).args(arguments);
        let output = command.output().expect("tar runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn store(&self, server: &Server) -> Store {
        let mut locations = Locations::below(self.at("store"));
        locations.downloads.vagrant_server = server.url("");
        locations.downloads.vagrant_token = Some("secret".to_owned());
        Store::new(locations)
    }

    fn bring_in(&self, spec: &str, server: &Server) -> Result<Image, Error> {
        let (reporter, _events) = Reporter::channel();
        bring_in(&self.store(server), &spec.parse()?, &reporter, &CancelToken::new())
    }

    #[track_caller]
    fn fails(&self, spec: &str, server: &Server, words: &[&str]) -> Error {
        let error = self.bring_in(spec, server).expect_err("it fails");
        for words in words {
            assert!(error.report().contains(words), "{words} is not in: {}", error.report());
        }
        let working = self.at("store/backend/.working");
        assert_eq!(fs::read_dir(working).into_iter().flatten().count(), 0);
        error
    }

    fn sha256(&self, bytes: &[u8]) -> String {
        let path = self.at("sum");
        File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
        let output = Command::new("sha256sum").arg(path).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
    }
}

/// Describes a box of one version with one file.
fn described(checksum: &str) -> String {
    format!(
        r#"{{"name": "some/box", "versions": [{{"version": "1.2", "providers": [
            {{"name": "virtualbox", "url": "/nowhere"}},
            {{"name": "libvirt", "url": "{BOX}", "checksum_type": "sha256", "checksum": "{checksum}",
              "architecture": "amd64", "default_architecture": true}}]}}]}}"#
    )
}

/// A registry with one box.
fn registry(checksum: &str, content: Vec<u8>) -> Server {
    let description = described(checksum);
    Server::start(move |asked: &Asked| match &*asked.path {
        "/api/v2/vagrant/some/box" => {
            Reply::ok(description.clone()).header("Content-Type", "application/json")
        }
        BOX => Reply::ok(content.clone()),
        _ => Reply::new("404 Not Found", "<html>").header("Content-Type", "text/html"),
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

#[test]
fn a_box_becomes_an_image() {
    for spec in ["some/box", "some/box:1.2", "some/box:v1.2", "x,vagrant=some/box:v1.2", "x,vagrant=some/box"]
    {
        let fixture = Fixture::new();
        fixture.disk("box.img", 5);
        fs::write(fixture.at("metadata.json"), r#"{"provider": "libvirt"}"#).expect("written");
        let content = gzip(&fixture.packed(&["./metadata.json", "./box.img"]));
        let server = registry(&fixture.sha256(&content), content);
        let image = fixture.bring_in(spec, &server).expect(spec);
        assert_eq!((image.virtual_size, &*image.name), (5 << 20, spec.split(',').next().expect("a name")));
        let asked = server.asked();
        assert_eq!(asked[0].header("accept"), Some("application/json"));
        assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer secret")));
        // Not asked for again.
        fixture.bring_in(spec, &server).expect("present");
        assert_eq!(server.asked().len(), asked.len());
    }
}

#[test]
fn the_disk_is_found_however_it_is_packed() {
    let fixture = Fixture::new();
    let disk = fixture.disk("plain.qcow2", 7);
    fs::create_dir(fixture.at("folder")).expect("made");
    // Most of it is a hole.
    let file = File::create(fixture.at("folder/box.img")).expect("made");
    qemu_img::convert(&disk, "qcow2", &fixture.at("other"), &mut |_| {}, &CancelToken::new())
        .expect("converted");
    (&file).write_all(&fs::read(fixture.at("other")).expect("readable")).expect("written");
    file.set_len(64 << 20).expect("grows");
    for (name, arguments) in [
        ("plain", &["folder"][..]),
        ("old sparse", &["--sparse", "--format=gnu", "folder/box.img"]),
        ("pax sparse", &["--sparse", "--format=pax", "./folder/box.img"]),
        ("oldest pax sparse", &["--sparse", "--format=pax", "--sparse-version=0.0", "folder/box.img"]),
        ("xz", &["--xz", "folder/box.img"]),
        ("another name", &["plain.qcow2"]),
    ] {
        let content = fixture.packed(arguments);
        let server = registry("", content);
        let image = fixture.bring_in("some/box", &server).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(image.virtual_size, 7 << 20, "{name}");
        fs::remove_file(image.path).expect("removed");
    }
}

#[test]
fn newer_boxes_say_which_disk() {
    let fixture = Fixture::new();
    fixture.disk("box_1.img", 3);
    fixture.disk("box_2.img", 4);
    let listed = |names: &[&str]| {
        let disks: Vec<String> = names.iter().map(|name| format!(r#"{{"path": "{name}"}}"#)).collect();
        let text = format!(r#"{{"provider": "libvirt", "format": "qcow2", "disks": [{}]}}"#, disks.join(","));
        fs::write(fixture.at("metadata.json"), text).expect("written");
    };
    let server = |files: &[&str]| registry("", fixture.packed(files));
    listed(&["box_2.img"]);
    for files in [["metadata.json", "box_1.img", "box_2.img"], ["box_1.img", "box_2.img", "metadata.json"]] {
        let image = fixture.bring_in("some/box", &server(&files)).expect("brought in");
        assert_eq!(image.virtual_size, 4 << 20);
        fs::remove_file(image.path).expect("removed");
    }
    let several = ["it has several disks (box_1.img, box_2.img)"];
    fixture.fails("some/box", &server(&["box_1.img", "box_2.img"]), &several);
    listed(&["box_1.img", "box_2.img"]);
    fixture.fails("some/box", &server(&["metadata.json", "box_1.img", "box_2.img"]), &several);
    listed(&[]);
    fixture.fails("some/box", &server(&["metadata.json"]), &["there is no box.img in it"]);
}

#[test]
fn what_is_wrong_with_a_box_is_said() {
    let fixture = Fixture::new();
    fixture.disk("box.img", 1);
    let content = fixture.packed(&["box.img"]);
    let error = fixture.fails("some/box", &registry(&"1".repeat(64), content.clone()), &[&"1".repeat(64)]);
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    let cut = content[..content.len() / 2].to_vec();
    fixture.fails("some/box", &registry("", cut), &["cannot be unpacked", "cut off"]);
    fixture.fails("some/box", &registry("", b"x".repeat(10_000)), &["it is no tar archive"]);
    fixture.fails(
        "some/box",
        &registry("1234", content.clone()),
        &["cannot be used: '1234' is no sha256 checksum"],
    );
    // What the user says counts for more.
    let digest = fixture.sha256(&content);
    let server = registry(&"1".repeat(64), content);
    fixture.bring_in(&format!("x,vagrant=some/box,sha256={digest}"), &server).expect("brought in");
}

#[test]
fn a_disk_on_a_backing_file_is_refused() {
    let fixture = Fixture::new();
    let base = fixture.disk("base.qcow2", 1);
    let overlay = fixture.at("box.img");
    qemu_img::create_overlay(&overlay, &base, &CancelToken::new()).expect("made");
    let error = fixture.fails("some/box", &registry("", fixture.packed(&["box.img"])), &["backing file"]);
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
}

#[test]
fn a_registry_may_have_only_short_addresses() {
    let fixture = Fixture::new();
    fixture.disk("box.img", 1);
    let content = fixture.packed(&["box.img"]);
    let server = Server::start(move |asked| match &*asked.path {
        "/some/box" => Reply::ok(described("")),
        BOX => Reply::ok(content.clone()),
        _ => Reply::ok("<html>").header("Content-Type", "text/html"),
    });
    fixture.bring_in("some/box", &server).expect("brought in");
}

#[test]
fn an_unknown_box_is_said_with_the_first_reason() {
    let fixture = Fixture::new();
    let server = registry("", Vec::new());
    let error = fixture.fails("other/box", &server, &["has no vagrant box 'other/box'", "404", "token"]);
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
    let pages = Server::start(|_| Reply::ok("<html>").header("Content-Type", "text/html"));
    fixture.fails("some/box", &pages, &["the server sent a web page, not a description in JSON"]);
    let odd = Server::start(|_| Reply::ok("[]"));
    fixture.fails("some/box", &odd, &["is no description of a vagrant box"]);
}

#[test]
fn other_names_are_no_boxes() {
    let fixture = Fixture::new();
    let server = Server::start(|_| Reply::ok(""));
    for spec in ["x,vagrant=a", "x,vagrant=a/b/c", "x,vagrant=../b:1", "x,vagrant=a/b?c:1", "x,vagrant=/b"] {
        let error = fixture.bring_in(spec, &server).expect_err(spec);
        assert_eq!(error.kind(), ErrorKind::SourceFailed, "{spec}");
    }
    assert!(server.asked().is_empty());
    assert!(!Path::new(&fixture.at("store")).exists());
}
