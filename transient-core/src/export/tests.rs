use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::*;
use crate::{ImportOptions, Locations, import};

const NAMES: [&str; 10] = [
    "disk.qcow2",
    "disk.raw",
    "disk.vmdk",
    "disk.vhdx",
    "disk.vdi",
    "disk.raw.gz",
    "disk.img.xz",
    "disk.raw.zst",
    "disk.qcow2.gz",
    "no extension, but=a:comma",
];

/// A store with the image `it`, made from a raw disk.
struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(Locations::below(folder.path().join("store")));
        let fixture = Self { folder, store };
        let raw = File::create(fixture.at("source.img")).expect("made");
        raw.set_len(16 << 20).expect("grown");
        raw.write_all_at(&pattern(1 << 20), 3 << 20).expect("written");
        raw.write_all_at(b"the end", (16 << 20) - 7).expect("written");
        fixture.import("source.img", "it").expect("imported");
        fs::create_dir(fixture.at("out")).expect("made");
        fixture
    }

    fn at(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn import(&self, file: impl AsRef<Path>, image: &str) -> Result<crate::Image, Error> {
        let options = ImportOptions::new(self.folder.path().join(file), name(image));
        import(&self.store, &options, &mut |_| {}, &CancelToken::new())
    }

    fn export(&self, file: &str, change: impl FnOnce(&mut ExportOptions)) -> Result<Vec<Event>, Error> {
        let mut options = ExportOptions::new(name("it"), self.at("out").join(file));
        change(&mut options);
        let mut events = Vec::new();
        export(&self.store, &options, &mut |event| events.push(event), &CancelToken::new())?;
        Ok(events)
    }

    fn out(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("out")).expect("readable");
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
    }
}

fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a name")
}

/// Bytes that no compression makes vanish.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

fn same(raw: &Path, other: &Path, format: &str) -> bool {
    let words = [OsStr::new("compare"), "-q".as_ref(), "-f".as_ref(), "raw".as_ref(), "-F".as_ref()];
    let words = words.into_iter().chain([OsStr::new(format), raw.as_os_str(), other.as_os_str()]);
    Command::new("qemu-img").args(words).status().expect("runs").success()
}

#[test]
fn what_is_exported_comes_back_as_it_was() {
    let fixture = Fixture::new();
    for (number, file) in NAMES.into_iter().enumerate() {
        let events = fixture.export(file, |_| {}).expect("exported");
        let path = fixture.at("out").join(file);
        let Some(Event::ExportFinished { path: told, real_size, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!((told, *real_size), (&path, fs::metadata(&path).expect("there").blocks() * 512));
        assert!(*real_size < 6 << 20, "{file}: empty parts take {real_size}");
        if Packing::of_file(&path).is_none() {
            let format = ExportFormat::of_file(&path).name();
            assert!(same(&fixture.at("source.img"), &path, format), "{file}");
        }
        let back = fixture.import(&path, &number.to_string()).expect("imported");
        assert!(same(&fixture.at("source.img"), &back.path, "qcow2"), "{file}");
    }
    assert_eq!(fixture.out().len(), NAMES.len(), "nothing is left: {:?}", fixture.out());
}

#[test]
fn compression_is_the_formats_own() {
    let fixture = Fixture::new();
    let file = File::create(fixture.at("text.img")).expect("made");
    file.write_all_at(&b"as it goes on ".repeat(100_000), 0).expect("written");
    fixture.import("text.img", "text").expect("imported");
    for (file, mark) in [("a.qcow2", "compression type: zstd"), ("a.vmdk", "create type: streamOptimized")] {
        fixture
            .export(file, |options| {
                options.compress = true;
                options.name = name("text");
            })
            .expect("exported");
        let path = fixture.at("out").join(file);
        let info = Command::new("qemu-img").arg("info").arg(&path).output().expect("runs");
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(info.contains(mark), "{info}");
        assert!(fs::metadata(&path).expect("there").len() < 1 << 20);
        assert!(same(&fixture.at("text.img"), &path, ExportFormat::of_file(&path).name()), "{file}");
    }
    let error = fixture.export("a.vdi", |options| options.compress = true).expect_err("cannot be");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let fixture = Fixture::new();
    fs::write(fixture.at("out/a.raw"), "mine").expect("written");
    let error = fixture.export("a.raw", |_| {}).expect_err("there");
    assert_eq!(error.kind(), ErrorKind::FileExists);
    assert_eq!(fs::read(fixture.at("out/a.raw")).expect("there"), b"mine");
    fixture.export("a.raw", |options| options.replace = true).expect("replaced");
    assert!(same(&fixture.at("source.img"), &fixture.at("out/a.raw"), "raw"));
    assert_eq!(fixture.out(), ["a.raw"]);
}

#[test]
fn a_file_that_comes_meanwhile_stays() {
    let fixture = Fixture::new();
    let options = ExportOptions::new(name("it"), fixture.at("out/a.raw"));
    let destination = Destination::check(&fixture.store, &options).expect("free");
    fs::write(&options.path, "mine").expect("written");
    fs::write(fixture.at("out/whole"), "ours").expect("written");
    let error = destination.put(&fixture.at("out/whole"), false).expect_err("there");
    assert_eq!(error.kind(), ErrorKind::FileExists);
    assert_eq!(fs::read(&options.path).expect("there"), b"mine");
    destination.put(&fixture.at("out/whole"), true).expect("replaced");
    assert_eq!(fs::read(&options.path).expect("there"), b"ours");
}

#[test]
fn mistakes_are_found_before_anything_is_made() {
    let fixture = Fixture::new();
    let refused = |path: PathBuf, image: &str| {
        let mut options = ExportOptions::new(name(image), path);
        options.replace = true;
        let error = export(&fixture.store, &options, &mut |_| {}, &CancelToken::new());
        error.expect_err("refused").kind()
    };
    assert_eq!(refused(fixture.at("out/a.raw"), "other"), ErrorKind::ImageNotFound);
    assert_eq!(refused(fixture.at("out"), "it"), ErrorKind::InvalidArgument);
    assert_eq!(refused("/dev/null".into(), "it"), ErrorKind::InvalidArgument);
    assert_eq!(refused(fixture.store.locations().backend.join("it"), "it"), ErrorKind::InvalidArgument);
    assert_eq!(refused("/nonexistent/a.raw".into(), "it"), ErrorKind::Io);
    assert!(fixture.out().is_empty());
}

#[test]
fn what_the_dead_left_goes_and_a_cancel_leaves_nothing() {
    let fixture = Fixture::new();
    let dead = fixture.at("out/.transient-export-abc123");
    fs::create_dir(&dead).expect("made");
    fs::write(dead.join(".lock"), "4711\n").expect("written");
    fs::write(dead.join("a.raw"), "half").expect("written");
    let cancel = CancelToken::new();
    let options = ExportOptions::new(name("it"), fixture.at("out/a.raw.xz"));
    let mut listener = |event| {
        if let Event::Progress { task, .. } = event
            && task.starts_with("Compressing")
        {
            cancel.cancel();
        }
    };
    let error = export(&fixture.store, &options, &mut listener, &cancel).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(fixture.out().is_empty(), "{:?}", fixture.out());
}

#[test]
fn complaints_of_qemu_img_are_explained() {
    let options = ExportOptions::new(name("it"), "a.vhdx");
    for (words, hint) in [
        ("qemu-img: Unknown file format 'vhdx'", "without that format"),
        ("Parameter 'compression-type' does not accept value 'zstd'", "without zstd"),
    ] {
        let error = Error::new(ErrorKind::ProgramFailed, "'qemu-img' failed").caused_by(words);
        let error = explained(error, &options, ExportFormat::Vhdx);
        assert!(error.hints()[0].contains(hint), "{error:?}");
        assert!(error.report().starts_with("cannot write the image 'it' as vhdx: "), "{error:?}");
        assert!(error.report().contains(words), "{error:?}");
    }
}
