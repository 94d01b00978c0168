//! Making and converting disk images with `qemu-img`.
//!
//! Formats are always named, never probed. Paths are made absolute: such a path cannot be taken for an
//! option, nor for a `protocol:` or `json:` name. A file from outside is passed on open, without any name.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Program;
use crate::image::header::{CompressionType, Format, Header};
use crate::qemu::block;
use crate::{CancelToken, Error, ErrorKind};

const QEMU_IMG: Program = Program {
    name: "qemu-img",
    package: "install the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora)",
    // Disks of networks may take their time.
    patience: Duration::from_secs(120),
};

/// A report is far shorter.
const LONGEST_REPORT: usize = 1 << 16;

/// Makes an empty qcow2 image for a disk of `size` bytes.
pub(crate) fn create_empty(path: &Path, size: u64, cancel: &CancelToken) -> Result<(), Error> {
    let (path, size) = (absolute(path)?, size.to_string());
    let arguments = ["create", "-q", "-f", "qcow2", "--"].map(OsStr::new);
    run(arguments.into_iter().chain([path.as_os_str(), OsStr::new(&size)]), &mut |_| {}, cancel)?;
    check_made(&path, "qcow2")
}

/// Makes a qcow2 overlay on the qcow2 image `backing`, of the same size. The overlay names it by its
/// absolute path.
pub(crate) fn create_overlay(path: &Path, backing: &Path, cancel: &CancelToken) -> Result<(), Error> {
    let (path, backing) = (absolute(path)?, absolute(backing)?);
    let arguments = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"].map(OsStr::new);
    let arguments = arguments.into_iter().chain([backing.as_os_str(), OsStr::new("--"), path.as_os_str()]);
    run(arguments, &mut |_| {}, cancel)?;
    check_made(&path, "qcow2")
}

/// Writes what qcow2 files that stand on each other hold into one standalone qcow2 image: the lowest first, whatever
/// they name themselves. `progress` is given the part that is done, from 0 to 1.
pub(crate) fn flatten(
    files: &[PathBuf],
    compression: Option<CompressionType>,
    destination: &Path,
    progress: &mut dyn FnMut(f64),
    cancel: &CancelToken,
) -> Result<(), Error> {
    let files = files.iter().map(|file| absolute(file)).collect::<Result<Vec<_>, _>>()?;
    let source = format!("json:{}", block::chain(&files).unwrap_or_default());
    let destination = absolute(destination)?;
    let arguments = converting(Target::qcow2(compression));
    let arguments = arguments.into_iter().chain(["--", &source]).map(OsStr::new);
    let arguments = arguments.chain([destination.as_os_str()]);
    metered(progress, |output| run(arguments, output, cancel)).map_err(without_zstd)?;
    check_made(&destination, "qcow2")
}

/// As [`flatten`], from an open file of that format.
///
/// `qemu-img` is given the file itself as its standard input: whatever has taken the file's name since it was
/// looked at is not read, and no backing file is opened, whatever the file names by now.
pub(crate) fn convert_open(
    source: &File,
    format: Format,
    destination: &Path,
    progress: &mut dyn FnMut(f64),
    cancel: &CancelToken,
) -> Result<(), Error> {
    convert_to(source, format, Target::qcow2(None), destination, progress, cancel)
}

/// What [`convert_to`] writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The format, as QEMU calls it.
    pub(crate) driver: &'static str,
    /// Options of that format.
    pub(crate) options: Option<&'static str>,
    /// Whether the format's own compression is used.
    pub(crate) compressed: bool,
}

impl Target {
    /// A qcow2 image, with the clusters as they are or compressed.
    pub(crate) fn qcow2(compression: Option<CompressionType>) -> Self {
        let options = compression.map(|compression| match compression {
            CompressionType::Zlib => "compression_type=zlib",
            CompressionType::Zstd => "compression_type=zstd",
        });
        Self { driver: Format::Qcow2.name(), options, compressed: compression.is_some() }
    }
}

/// Returns how `qemu-img` is told to write a target.
fn converting(target: Target) -> Vec<&'static str> {
    let mut arguments = vec!["convert", "-p", "-O", target.driver];
    arguments.extend(target.compressed.then_some("-c"));
    // As it comes: clusters are then compressed on several cores. Formats that grow read best when they were written
    // in order. More requests at a time than the usual 8 bring nothing.
    let as_it_comes = match target.compressed {
        true => target.driver == Format::Qcow2.name(),
        false => target.driver == Format::Raw.name(),
    };
    arguments.extend(as_it_comes.then_some("-W"));
    arguments.extend(target.options.iter().flat_map(|options| ["-o", options]));
    arguments
}

/// As [`convert_open`], into any format.
pub(crate) fn convert_to(
    source: &File,
    format: Format,
    target: Target,
    destination: &Path,
    progress: &mut dyn FnMut(f64),
    cancel: &CancelToken,
) -> Result<(), Error> {
    let input = source.try_clone().map_err(|error| Error::io("cannot pass a file on", error))?;
    let (image, destination) = (image_on_stdin(format), absolute(destination)?);
    let arguments = converting(target).into_iter().chain(["--", &image]).map(OsStr::new);
    let arguments = arguments.chain([destination.as_os_str()]);
    metered(progress, |output| QEMU_IMG.run_on(input.into(), arguments, output, cancel))?;
    check_made(&destination, target.driver)
}

/// What is wrong with an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Found {
    /// How many errors came up while it was checked, apart from those in the image.
    check_errors: u64,
    #[serde(default)]
    pub(crate) corruptions: u64,
    #[serde(default)]
    pub(crate) leaks: u64,
}

/// Checks an open image of that format, which is opened as by [`convert_open`].
pub(crate) fn check_open(source: &File, format: Format, cancel: &CancelToken) -> Result<Found, Error> {
    let input = source.try_clone().map_err(|error| Error::io("cannot pass a file on", error))?;
    let image = image_on_stdin(format);
    let arguments = ["check", "--output=json", "--", &image].map(OsStr::new);
    let mut printed = Vec::new();
    let mut keep = |piece: &[u8]| {
        if printed.len() < LONGEST_REPORT {
            printed.extend_from_slice(piece);
        }
    };
    let run = QEMU_IMG.run_on(input.into(), arguments, &mut keep, cancel);
    cancel.check()?;
    // It fails also where it has found something.
    match (serde_json::from_slice::<Found>(&printed), run) {
        (Ok(found), _) if found.check_errors == 0 => Ok(found),
        (_, Err(error)) => Err(error),
        (Ok(_), Ok(())) => Err(Error::new(ErrorKind::ProgramFailed, "'qemu-img' could not check all of it")),
        (Err(error), Ok(())) => {
            let message = "Command produced garbage: 'qemu-img check'";
            Err(Error::new(ErrorKind::ProgramFailed, message).caused_by(error))
        }
    }
}

/// Names the standard input as an image of that format, without a backing file.
fn image_on_stdin(format: Format) -> String {
    let file = serde_json::json!({ "driver": "file", "filename": "/proc/self/fd/0" });
    let image = serde_json::json!({ "driver": format.name(), "backing": null, "file": file });
    format!("json:{image}")
}

/// As [`flatten`], from any format, named as `qemu-img` does.
#[cfg(test)]
pub(crate) fn convert(
    source: &Path,
    format: &str,
    destination: &Path,
    progress: &mut dyn FnMut(f64),
    cancel: &CancelToken,
) -> Result<(), Error> {
    let (source, destination) = (absolute(source)?, absolute(destination)?);
    let arguments = ["convert", "-p", "-f", format, "-O", "qcow2", "--"].map(OsStr::new);
    let arguments = arguments.into_iter().chain([source.as_os_str(), destination.as_os_str()]);
    metered(progress, |output| run(arguments, output, cancel))?;
    check_made(&destination, "qcow2")
}

/// Checks that there is what a run that succeeded must have made: another program may have the name `qemu-img`.
fn check_made(path: &Path, driver: &str) -> Result<(), Error> {
    let reason = match File::open(path).and_then(|file| Header::read(&file)) {
        // A raw disk may begin in any way.
        Ok(header) if driver == "raw" || header.format.name() == driver => return Ok(()),
        Ok(header) => format!("'{}' is no {driver} image, but {}", path.display(), header.format.name()),
        Err(error) => format!("'{}' cannot be read: {error}", path.display()),
    };
    Err(Error::new(ErrorKind::ProgramFailed, "Command produced garbage")
        .caused_by(format!("'qemu-img' succeeded, but {reason}"))
        .hint("another program may have the name 'qemu-img': see `command -v qemu-img`"))
}

/// Says what can be done where a distribution leaves zstd out of QEMU.
fn without_zstd(error: Error) -> Error {
    match error.kind() == ErrorKind::ProgramFailed && error.report().contains("compression-type") {
        true => error.hint("this `qemu-img` was built without zstd; choose zlib, or no compression"),
        false => error,
    }
}

/// Hands out the progress that a run prints.
fn metered(
    progress: &mut dyn FnMut(f64),
    run: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut meter = Meter::default();
    run(&mut |piece| {
        if let Some(part) = meter.feed(piece) {
            progress(part);
        }
    })
}

fn run<'a>(
    arguments: impl IntoIterator<Item = &'a OsStr>,
    output: &mut dyn FnMut(&[u8]),
    cancel: &CancelToken,
) -> Result<(), Error> {
    QEMU_IMG.run(arguments, output, cancel)
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path)
        .map_err(|error| Error::io(format!("'{}' cannot be made an absolute path", path.display()), error))
}

/// Reads the progress that `qemu-img` prints: `    (12.50/100%)`, each followed by a carriage return.
#[derive(Debug, Default)]
struct Meter {
    /// What came after the last carriage return.
    rest: String,
}

impl Meter {
    /// Returns the newest part that is done, from 0 to 1, if this piece completes one.
    fn feed(&mut self, piece: &[u8]) -> Option<f64> {
        self.rest.push_str(&String::from_utf8_lossy(piece));
        let end = self.rest.rfind('\r')?;
        let newest = self.rest[..end].rsplit('\r').next().and_then(parse_percent);
        self.rest.drain(..=end);
        newest.map(|percent| (percent / 100.0).clamp(0.0, 1.0))
    }
}

fn parse_percent(text: &str) -> Option<f64> {
    text.trim().strip_prefix('(')?.strip_suffix("/100%)")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    /// Names that a careless call takes for something else.
    const NAMES: [&str; 6] = ["plain", "a,size=1", "-o", "nbd:unix", "json:{}", "with blank'\"\\ä"];

    fn read_disk(path: &Path, folder: &Path) -> Vec<u8> {
        let raw = folder.join("read.raw");
        let status = Command::new("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .arg(path)
            .arg(&raw)
            .status()
            .expect("qemu-img runs");
        assert!(status.success());
        fs::read(raw).expect("readable")
    }

    #[test]
    fn any_path_is_taken_as_a_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = CancelToken::new();
        for name in NAMES {
            let below = folder.path().join(format!("dir{name}"));
            fs::create_dir(&below).expect("a folder");
            let (base, overlay, flat) = (below.join(name), below.join("overlay,x"), below.join("-flat"));
            create_empty(&base, 1 << 20, &cancel).expect("a base");
            create_overlay(&overlay, &base, &cancel).expect("an overlay");
            flatten(&[base.clone(), overlay.clone()], None, &flat, &mut |_| {}, &cancel).expect("flat");
            let read = |path| Header::read(&File::open(path).expect("there")).expect("a header");
            assert!(read(&overlay).refusal().is_some(), "{name}: has a backing file");
            assert_eq!(read(&flat).refusal(), None, "{name}");
            assert_eq!(read(&flat).virtual_size, 1 << 20, "{name}");
        }
    }

    #[test]
    fn a_relative_path_is_one_too() {
        assert!(absolute(Path::new("nbd:x")).expect("absolute").is_absolute());
    }

    #[test]
    fn flattening_keeps_what_both_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = CancelToken::new();
        let at = |name: &str| folder.path().join(name);
        let raw = File::create(at("raw")).expect("a file");
        raw.set_len(4 << 20).expect("grows");
        raw.write_all_at(b"from the base", 1 << 20).expect("written");
        convert(&at("raw"), "raw", &at("base"), &mut |_| {}, &cancel).expect("converted");
        create_overlay(&at("overlay"), &at("base"), &cancel).expect("an overlay");
        let mut parts = Vec::new();
        flatten(&[at("base"), at("overlay")], None, &at("flat"), &mut |part| parts.push(part), &cancel)
            .expect("flat");
        assert_eq!(parts.last(), Some(&1.0));
        let disk = read_disk(&at("flat"), folder.path());
        assert_eq!(&disk[1 << 20..][..13], b"from the base");
        assert_eq!(disk.len(), 4 << 20);
    }

    #[test]
    fn a_raw_disk_that_looks_like_qcow2_stays_raw() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = CancelToken::new();
        let (inner, outer) = (folder.path().join("inner"), folder.path().join("outer"));
        create_empty(&inner, 1 << 20, &cancel).expect("made");
        convert(&inner, "raw", &outer, &mut |_| {}, &cancel).expect("converted");
        let header = Header::read(&File::open(outer).expect("there")).expect("a header");
        assert_eq!(header.format, Format::Qcow2);
        assert_eq!(header.virtual_size, fs::metadata(&inner).expect("there").len().next_multiple_of(512));
    }

    #[test]
    fn an_open_file_is_converted_whatever_has_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = CancelToken::new();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("raw"), [7; 1 << 20]).expect("written");
        let file = File::open(at("raw")).expect("there");
        fs::write(at("other"), "something else").expect("written");
        fs::rename(at("other"), at("raw")).expect("renamed");
        convert_open(&file, Format::Raw, &at("nbd:x"), &mut |_| {}, &cancel).expect("converted");
        assert!(read_disk(&at("nbd:x"), folder.path()) == [7; 1 << 20], "other bytes");
    }

    #[test]
    fn a_backing_file_that_turns_up_late_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = CancelToken::new();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("secret"), [7; 1 << 20]).expect("written");
        convert(&at("secret"), "raw", &at("base"), &mut |_| {}, &cancel).expect("converted");
        create_overlay(&at("overlay"), &at("base"), &cancel).expect("an overlay");
        let overlay = File::open(at("overlay")).expect("there");
        convert_open(&overlay, Format::Qcow2, &at("out"), &mut |_| {}, &cancel).expect("converted");
        assert!(read_disk(&at("out"), folder.path()) == [0; 1 << 20], "the backing file was read");
    }

    #[test]
    fn a_failure_says_what_qemu_img_said() {
        let missing = Path::new("/nonexistent/x");
        let error = create_empty(missing, 1 << 20, &CancelToken::new()).expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::ProgramFailed);
        assert!(error.report().contains("/nonexistent/x: Could not create"), "{}", error.report());
    }

    #[test]
    fn progress_is_read_across_pieces() {
        let mut meter = Meter::default();
        assert_eq!(meter.feed(b"    (0.00/100%)\r    (12."), Some(0.0));
        assert_eq!(meter.feed(b"50/100"), None);
        assert_eq!(meter.feed(b"%)\r    (25.00/100%)\r"), Some(0.25));
        assert_eq!(meter.feed(b"nonsense\r"), None);
    }
}
