use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use async_channel::Receiver;

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

    fn bring_in(&self, path: &Path, cancel: &CancelToken) -> Result<Image, Error> {
        let source = Some((Protocol::File, path.to_str().expect("UTF-8").to_owned()));
        bring_in(&self.store, &ImageSpec { name: name(), source }, &self.reporter, cancel)
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
    let target = fixture.at("unpacked");
    let source = File::open(&packed).expect("there");
    let kind = crate::image::header::Compression::Gzip;
    unpack::unpack(&source, kind, &packed, &target, &fixture.reporter, &CancelToken::new())
        .expect("unpacked");
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
        fs::write(&packed, &bytes[..bytes.len() - 9]).expect("written");
        let error = fixture.bring_in(&packed, &CancelToken::new()).expect_err(program);
        assert_eq!(error.kind(), ErrorKind::InvalidImage, "{program}: {error:?}");
        assert!(error.to_string().contains("packed' cannot be decompressed"));
        fixture.assert_nothing_left();
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
    compress("gzip", &[&zeros, &zeros, &zeros, &zeros], &packed);
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
fn what_would_be_downloaded_is_refused_with_a_way_out() {
    let fixture = Fixture::new();
    let from = |protocol| Some((protocol, "https://example.com/x".to_owned()));
    for source in [None, from(Protocol::Http), from(Protocol::Vagrant)] {
        let spec = ImageSpec { name: name(), source };
        let error =
            bring_in(&fixture.store, &spec, &fixture.reporter, &CancelToken::new()).expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::ImageNotFound);
        assert_eq!(error.to_string(), "Unable to find image 'the/image' in backend");
        assert!(error.report().contains("FROM the/image,file=PATH"), "{}", error.report());
        assert!(error.report().contains("/backend'"), "{}", error.report());
    }
}
