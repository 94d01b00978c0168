use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use async_channel::Receiver;

use super::http::server::{Reply, Server};
use super::intake::Origin;
use super::receive::{Contents, receive};
use super::*;
use crate::process::qemu_img;
use crate::{ImageName, Locations};

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
    reporter: Reporter,
    events: Receiver<Event>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(Locations::below(folder.path()));
        let (reporter, events) = Reporter::channel();
        Self { folder, store, reporter, events }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bring_in_spec(&self, source: &str) -> Result<Image, Error> {
        let spec = format!("the/image,file={source}").parse()?;
        bring_in(&self.store, &spec, &self.reporter, &CancelToken::new())
    }

    fn bring_in_url(&self, source: &str) -> Result<Image, Error> {
        let spec = format!("the/image,http={source}").parse()?;
        bring_in(&self.store, &spec, &self.reporter, &CancelToken::new())
    }

    fn received(&self, origin: Origin, contents: Contents) -> Result<PathBuf, Error> {
        let (store, folder, cancel) = (&self.store, self.folder.path(), CancelToken::new());
        let place = Place { store, folder, checksum: None, reporter: &self.reporter, cancel: &cancel };
        receive(origin, contents, &place).map(|received| received.path)
    }

    fn bring_in(&self, path: &Path, cancel: &CancelToken) -> Result<Image, Error> {
        let source = Some((Protocol::File, path.to_str().expect("UTF-8").to_owned()));
        bring_in(&self.store, &ImageSpec { name: name(), source, checksum: None }, &self.reporter, cancel)
    }

    /// A raw disk of 12 MiB: something at its beginning, in its middle, and a hole at its end.
    fn raw(&self) -> PathBuf {
        let path = self.at("disk.raw");
        let file = File::create(&path).expect("made");
        file.set_len(12 << 20).expect("grows");
        file.write_all_at(&[0x55; 512], 0).expect("written");
        file.write_all_at(b"in the middle", (6 << 20) + 5).expect("written");
        path
    }

    /// Asserts that the image holds the very bytes of the raw disk.
    fn assert_holds(&self, image: &Image, raw: &Path) {
        let back = self.at("back.raw");
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&image.path).arg(&back);
        assert!(command.status().expect("runs").success());
        assert!(fs::read(&back).expect("readable") == fs::read(raw).expect("readable"), "other bytes");
    }

    fn assert_nothing_left(&self) {
        let working = self.store.locations().backend.join(".working");
        let left = fs::read_dir(working).into_iter().flatten().count();
        assert_eq!(left, 0);
        assert!(self.store.images().expect("readable").images.is_empty());
    }
}

#[track_caller]
fn assert_mismatch(error: &Error, expected: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    let report = error.report();
    assert!(report.contains("is not the one that was meant") && report.contains(expected), "{report}");
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("runs");
    String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a digest").to_owned()
}

fn name() -> ImageName {
    ImageName::new("the/image").expect("a valid name")
}

/// Compresses each part of a file by itself, so that the result has several members.
fn compress(program: &str, parts: &[&[u8]], path: &Path) {
    let mut all = Vec::new();
    for part in parts {
        let plain = path.with_extension("part");
        fs::write(&plain, part).expect("written");
        let mut command = Command::new(program);
        command.arg("-c").stdin(File::open(&plain).expect("there")).stderr(Stdio::inherit());
        all.extend(command.output().expect("runs").stdout);
    }
    fs::write(path, all).expect("written");
}

#[test]
fn a_raw_file_becomes_an_image() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let image = fixture.bring_in(&raw, &CancelToken::new()).expect("brought in");
    assert_eq!((image.name.as_str(), image.virtual_size), ("the/image", 12 << 20));
    fixture.assert_holds(&image, &raw);
    assert_eq!(
        fixture.events.try_recv(),
        Ok(Event::Note { message: "Unable to find image 'the/image' in backend".to_owned() })
    );
    // Present now: the file is not looked at again.
    fs::remove_file(&raw).expect("removed");
    let again = fixture.bring_in(&raw, &CancelToken::new()).expect("present");
    assert_eq!((again.path, again.virtual_size), (image.path, image.virtual_size));
}

#[test]
fn every_compression_is_undone_with_all_members() {
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let fixture = Fixture::new();
        let raw = fixture.raw();
        let bytes = fs::read(&raw).expect("readable");
        let (one, other) = bytes.split_at(bytes.len() / 3);
        // What it is called says nothing about what it is.
        let packed = fixture.at("packed.img");
        compress(program, &[one, other], &packed);
        let image =
            fixture.bring_in(&packed, &CancelToken::new()).unwrap_or_else(|e| panic!("{program}: {e:?}"));
        fixture.assert_holds(&image, &raw);
        let length = fs::metadata(&packed).expect("there").len();
        let mut last = None;
        while let Ok(event) = fixture.events.try_recv() {
            if let Event::Progress { task, done, finished: true, .. } = event {
                last = last.or(Some((task, done)));
            }
        }
        assert_eq!(last, Some((format!("Decompressing {}", packed.display()), length)), "{program}");
    }
}

#[test]
fn zeros_become_holes() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let packed = fixture.at("packed");
    compress("gzip", &[&fs::read(&raw).expect("readable")], &packed);
    let origin = Origin {
        named: String::new(),
        task: String::new(),
        total: None,
        checksum: None,
        stream: Box::new(File::open(&packed).expect("there")),
    };
    let target = fixture.received(origin, Contents::Disk).expect("unpacked");
    let metadata = fs::metadata(&target).expect("there");
    assert_eq!(metadata.len(), 12 << 20);
    assert!(metadata.blocks() * 512 <= 1 << 20, "{} blocks", metadata.blocks());
}

#[test]
fn a_compressed_qcow2_file_is_read_as_one() {
    let fixture = Fixture::new();
    let (raw, qcow2, packed) = (fixture.raw(), fixture.at("disk.qcow2"), fixture.at("disk.qcow2.xz"));
    qemu_img::convert(&raw, "raw", &qcow2, &mut |_| {}, &CancelToken::new()).expect("converted");
    compress("xz", &[&fs::read(&qcow2).expect("readable")], &packed);
    let image = fixture.bring_in(&packed, &CancelToken::new()).expect("brought in");
    fixture.assert_holds(&image, &raw);
}

#[test]
fn a_cut_short_file_is_refused() {
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let fixture = Fixture::new();
        let packed = fixture.at("packed");
        compress(program, &[&fs::read(fixture.raw()).expect("readable")], &packed);
        let bytes = fs::read(&packed).expect("readable");
        let tenths = (1..10).map(|tenth| tenth * bytes.len() / 10);
        for length in tenths.chain([bytes.len() - 9, bytes.len() - 1]) {
            fs::write(&packed, &bytes[..length]).expect("written");
            let error = fixture.bring_in(&packed, &CancelToken::new()).expect_err(program);
            assert_eq!(error.kind(), ErrorKind::InvalidImage, "{program}: {error:?}");
            assert!(error.to_string().contains("packed' cannot be decompressed"));
            fixture.assert_nothing_left();
        }
    }
}

#[test]
fn an_image_on_a_backing_file_is_refused() {
    let fixture = Fixture::new();
    let (base, overlay) = (fixture.at("base"), fixture.at("overlay"));
    qemu_img::create_empty(&base, 1 << 20, &CancelToken::new()).expect("made");
    qemu_img::create_overlay(&overlay, &base, &CancelToken::new()).expect("made");
    let packed = fixture.at("overlay.gz");
    compress("gzip", &[&fs::read(&overlay).expect("readable")], &packed);
    for path in [&overlay, &packed] {
        let error = fixture.bring_in(path, &CancelToken::new()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        let begin = format!("the image file '{}' is refused: ", path.display());
        assert!(
            error.to_string().starts_with(&begin) && error.to_string().contains("backing file"),
            "{error}"
        );
        fixture.assert_nothing_left();
    }
}

#[test]
fn what_is_no_image_file_is_said() {
    let fixture = Fixture::new();
    let empty = fixture.at("empty");
    fs::write(&empty, "").expect("written");
    let cancel = CancelToken::new();
    let error = fixture.bring_in(&fixture.at("missing"), &cancel).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
    assert!(error.report().contains("missing': No such file or directory"), "{}", error.report());
    assert_eq!(
        fixture.bring_in(fixture.folder.path(), &cancel).expect_err("folder").kind(),
        ErrorKind::SourceFailed
    );
    assert!(!fixture.store.locations().backend.exists(), "nothing is made for them");
    assert_eq!(fixture.bring_in(&empty, &cancel).expect_err("empty").kind(), ErrorKind::InvalidImage);
}

#[test]
fn names_of_protocols_are_names_of_files() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let odd =
        ["nbd:unix:x", "json:{\"driver\":\"null-co\"}", "http:example.com", "file.img,snapshot=on", "-o"];
    for name in odd {
        let cancel = CancelToken::new();
        let error = fixture.bring_in(Path::new(name), &cancel).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::SourceFailed, "{name}");
        assert!(error.report().contains("No such file or directory"), "{}", error.report());
        let path = fixture.at(name);
        fs::rename(&raw, &path).expect("renamed");
        let image = fixture.bring_in(&path, &cancel).expect("brought in");
        fs::rename(&path, &raw).expect("renamed");
        fixture.assert_holds(&image, &raw);
        fs::remove_file(&image.path).expect("removed");
    }
}

#[test]
fn what_can_be_done_about_a_refusal_is_said() {
    let fixture = Fixture::new();
    let image = fixture.at("dirty");
    qemu_img::create_empty(&image, 1 << 20, &CancelToken::new()).expect("made");
    let file = File::options().write(true).open(&image).expect("there");
    file.write_all_at(&[1], 79).expect("written");
    let error = fixture.bring_in(&image, &CancelToken::new()).expect_err("dirty");
    assert!(error.to_string().ends_with("is refused: it was not closed properly"), "{error}");
    assert!(error.hints()[0].contains("qemu-img check -r all"), "{:?}", error.hints());
}

#[test]
fn a_cancel_in_the_middle_leaves_nothing() {
    let fixture = Fixture::new();
    let packed = fixture.at("packed");
    let zeros = vec![0; 64 << 20];
    // More than makes an event must come in while there is more to come.
    let mut random = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut random);
    compress("gzip", &[&random, &zeros, &zeros, &zeros, &zeros], &packed);
    let cancel = CancelToken::new();
    let error = std::thread::scope(|scope| {
        let work = scope.spawn(|| fixture.bring_in(&packed, &cancel));
        while !matches!(fixture.events.recv_blocking(), Ok(Event::Progress { .. })) {}
        cancel.cancel();
        work.join().expect("no panic").expect_err("cancelled")
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    fixture.assert_nothing_left();
}

#[test]
fn a_name_that_can_be_no_box_is_not_looked_for() {
    let fixture = Fixture::new();
    let spec = ImageSpec { name: ImageName::new("alpine").expect("a name"), source: None, checksum: None };
    let error =
        bring_in(&fixture.store, &spec, &fixture.reporter, &CancelToken::new()).expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::ImageNotFound);
    assert_eq!(error.to_string(), "Unable to find image 'alpine' in backend");
    assert!(error.report().contains("alpine,file=PATH"), "{}", error.report());
    assert!(error.report().contains("/backend'"), "{}", error.report());
    assert!(fixture.events.try_recv().is_err());
    assert!(!fixture.store.locations().backend.exists());
}

#[test]
fn a_file_is_compared_with_its_checksum() {
    for packed in [false, true] {
        let fixture = Fixture::new();
        let raw = fixture.raw();
        let file = if packed { fixture.at("packed") } else { raw.clone() };
        if packed {
            compress("zstd", &[&fs::read(&raw).expect("readable")], &file);
        }
        let wrong = fixture.bring_in_spec(&format!("{},sha512={}", file.display(), "0".repeat(128)));
        assert_mismatch(&wrong.expect_err("another file"), &"0".repeat(128));
        fixture.assert_nothing_left();
        let image = fixture.bring_in_spec(&format!("{},sha256={}", file.display(), sha256(&file)));
        fixture.assert_holds(&image.expect("brought in"), &raw);
    }
}

#[test]
fn what_an_image_was_made_from_is_told() {
    let fixture = Fixture::new();
    let (raw, packed) = (fixture.raw(), fixture.at("disk.xz"));
    compress("xz", &[&fs::read(&raw).expect("readable")], &packed);
    let source = format!("{},sha256={}", packed.display(), sha256(&packed));
    fixture.bring_in_spec(&source).expect("brought in");
    let provenance = fixture.store.inspect(&name()).expect("there").provenance.expect("known");
    let expected = crate::MadeBy::Pull {
        spec: format!("the/image,file={source}"),
        format: "raw".to_owned(),
        compression: Some("xz".to_owned()),
        checksum: Some(format!("sha256={}", sha256(&packed))),
    };
    assert_eq!(provenance.made_by, expected);
    assert!(provenance.steps[0].elapsed > 0.0);
}

#[test]
fn a_damaged_file_is_first_of_all_not_the_one_that_was_meant() {
    let fixture = Fixture::new();
    let packed = fixture.at("packed");
    compress("gzip", &[&fs::read(fixture.raw()).expect("readable")], &packed);
    let digest = sha256(&packed);
    let mut bytes = fs::read(&packed).expect("readable");
    bytes[200] ^= 0xff;
    fs::write(&packed, bytes).expect("written");
    let error = fixture.bring_in_spec(&format!("{},sha256={digest}", packed.display()));
    assert_mismatch(&error.expect_err("damaged"), &digest);
    fixture.assert_nothing_left();
}

#[test]
fn a_download_is_unpacked_and_compared_while_it_breaks() {
    let fixture = Fixture::new();
    let (raw, packed) = (fixture.raw(), fixture.at("packed"));
    compress("xz", &[&fs::read(&raw).expect("readable")], &packed);
    let (bytes, digest) = (fs::read(&packed).expect("readable"), sha256(&packed));
    let server = Server::start(move |asked| {
        let reply = Reply::ok(bytes.clone()).ranges().header("ETag", "\"one\"");
        if asked.number == 1 { reply.cut_after(bytes.len() / 2) } else { reply }
    });
    let image =
        fixture.bring_in_url(&format!("{},sha256={digest}", server.url("/disk.xz"))).expect("brought in");
    fixture.assert_holds(&image, &raw);
    assert_eq!(server.asked().len(), 2);
    let tasks: Vec<_> = std::iter::from_fn(|| fixture.events.try_recv().ok())
        .filter_map(|event| match event {
            Event::Progress { task, finished: true, .. } => Some(task),
            _ => None,
        })
        .collect();
    let url = server.url("/disk.xz");
    assert_eq!(tasks, [format!("Downloading {url}"), format!("Converting {url}")]);
}

#[test]
fn a_download_that_is_not_what_was_meant_leaves_nothing() {
    let fixture = Fixture::new();
    let bytes = fs::read(fixture.raw()).expect("readable");
    let server = Server::start(move |_| Reply::ok(bytes.clone()));
    let wrong = "f".repeat(64);
    let error =
        fixture.bring_in_url(&format!("{},sha256={wrong}", server.url("/"))).expect_err("another file");
    assert_mismatch(&error, &wrong);
    assert!(error.report().contains(&sha256(&fixture.raw())), "{}", error.report());
    fixture.assert_nothing_left();
}

#[test]
fn a_download_that_is_no_image_leaves_nothing() {
    for (body, words) in [("", "it is empty"), (" <!DOCTYPE HTML><title>", "it is a web page")] {
        let fixture = Fixture::new();
        let server = Server::start(move |_| Reply::ok(body));
        let error = fixture.bring_in_url(&server.url("/")).expect_err("no image");
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        assert!(error.report().contains(words), "{}", error.report());
        fixture.assert_nothing_left();
    }
}

#[test]
fn what_two_want_is_downloaded_once() {
    let fixture = Fixture::new();
    let bytes = fs::read(fixture.raw()).expect("readable");
    let server = Server::start(move |_| Reply::ok(bytes.clone()));
    let bring_in = || fixture.bring_in_url(&server.url("/")).expect("brought in");
    let images = std::thread::scope(|scope| {
        [scope.spawn(bring_in), scope.spawn(bring_in)].map(|work| work.join().expect("no panic").path)
    });
    assert_eq!(images[0], images[1]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_cancelled_download_leaves_nothing() {
    let fixture = Fixture::new();
    let server = Server::start(|_| Reply::silent());
    let cancel = CancelToken::new();
    let spec = format!("the/image,http={}", server.url("/")).parse().expect("a spec");
    let error = std::thread::scope(|scope| {
        let work = scope.spawn(|| bring_in(&fixture.store, &spec, &fixture.reporter, &cancel));
        while server.asked().is_empty() {
            std::thread::yield_now();
        }
        cancel.cancel();
        work.join().expect("no panic").expect_err("cancelled")
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    fixture.assert_nothing_left();
}

#[test]
fn pulling_tells_of_each_image() {
    let fixture = Fixture::new();
    let spec: ImageSpec = format!("a,file={}", fixture.raw().display()).parse().expect("a spec");
    let mut finished = Vec::new();
    let mut listener = |event| {
        if let Event::PullFinished { image, fetched, .. } = event {
            finished.push((image.name, fetched));
        }
    };
    let specs = [spec.clone(), spec];
    let images = pull(&fixture.store, &specs, &mut listener, &CancelToken::new()).expect("pulled");
    assert_eq!(images.len(), 2);
    assert_eq!(finished, [("a".to_owned(), true), ("a".to_owned(), false)]);
    let missing = ["b,file=/nowhere/b".parse().expect("a spec")];
    pull(&fixture.store, &missing, &mut |_| {}, &CancelToken::new()).expect_err("no such file");
}
