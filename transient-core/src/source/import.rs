//! Taking a file of the host into the backend.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::file::ImageFile;
use super::pipe::Pipe;
use super::{Place, Plain, convert};
use crate::call::call;
use crate::event::Reporter;
use crate::image::{Checksum, Image, Protocol};
use crate::{CancelToken, Error, Event, ImageName, ImageSpec, Store};

/// What to import, and as what.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The file: an image in any format that `qemu-img` reads, as it is or compressed with gzip, bzip2, xz or zstd.
    /// It may also be a pipe, such as `/dev/stdin`.
    pub path: PathBuf,
    /// The new image's name. [`ImageName::of_file`] has one for a file.
    pub name: ImageName,
    /// What the file's bytes must add up to, as they are before anything is unpacked.
    pub checksum: Option<Checksum>,
    /// Replace an image of that name, unless a VM has a disk on it.
    pub replace: bool,
}

impl ImportOptions {
    /// Returns options without a checksum, that replace nothing.
    pub fn new(path: impl Into<PathBuf>, name: ImageName) -> Self {
        Self { path: path.into(), name, checksum: None, replace: false }
    }
}

/// Makes a file of the host an image of the backend. `listener` is called on the calling thread; it is told
/// [`Event::PullFinished`] at the end.
///
/// ```no_run
/// use std::path::Path;
/// use transient_core::{CancelToken, ImageName, ImportOptions, Locations, Store, import};
///
/// let path = Path::new("debian-12.qcow2.xz");
/// let options = ImportOptions::new(path, ImageName::of_file(path)?);
/// let image = import(&Store::new(Locations::from_env()?), &options, &mut |_| {}, &CancelToken::new())?;
/// assert_eq!(image.name, "debian-12");
/// # Ok::<(), transient_core::Error>(())
/// ```
///
/// # Errors
///
/// [`crate::ErrorKind::ImageExists`] when the name is taken, unless [`ImportOptions::replace`];
/// [`crate::ErrorKind::ImageInUse`] when a VM has a disk on what would be replaced;
/// [`crate::ErrorKind::SourceFailed`] when the file cannot be read; [`crate::ErrorKind::InvalidImage`] when it is
/// damaged, another one than was meant, or points at other files.
pub fn import(
    store: &Store,
    options: &ImportOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Image, Error> {
    call("transient-import", listener, cancel, |reporter, cancel| run(store, options, reporter, cancel))
}

fn run(
    store: &Store,
    options: &ImportOptions,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let started = Instant::now();
    let source = Source::open(&options.path, cancel)?;
    let mut reservation = store.reserve_new(&options.name, options.replace, reporter, cancel)?;
    let checksum = options.checksum.as_ref();
    let place = Place { store, folder: reservation.folder(), checksum, reporter, cancel };
    let plain = source.fetch(&place)?;
    let named = (Protocol::File, options.path.display().to_string());
    let checksum = options.checksum.clone();
    let spec = ImageSpec { name: options.name.clone(), source: Some(named), checksum };
    let (path, making) = convert(plain, &spec, started, &place)?;
    reservation.tell(making);
    let image = reservation.commit(&path)?;
    let finished = Event::PullFinished { image: image.clone(), fetched: true, elapsed: started.elapsed() };
    reporter.send_blocking(finished);
    Ok(image)
}

enum Source {
    File(ImageFile),
    Pipe(Pipe),
}

impl Source {
    fn open(path: &Path, cancel: &CancelToken) -> Result<Self, Error> {
        let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        if is_pipe { Pipe::open(path, cancel).map(Self::Pipe) } else { ImageFile::open(path).map(Self::File) }
    }

    fn fetch(self, place: &Place<'_>) -> Result<Plain, Error> {
        match self {
            Self::File(file) => file.fetch(place),
            Self::Pipe(pipe) => pipe.fetch(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::{ErrorKind, Locations};

    struct Fixture {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::new(Locations::below(folder.path().join("store")));
            fs::write(folder.path().join("disk.img"), vec![7; 1 << 20]).expect("written");
            Self { folder, store }
        }

        fn at(&self, file: &str) -> PathBuf {
            self.folder.path().join(file)
        }

        fn import(&self, file: &str, change: impl FnOnce(&mut ImportOptions)) -> Result<Image, Error> {
            let mut options = ImportOptions::new(self.at(file), ImageName::new("it")?);
            change(&mut options);
            import(&self.store, &options, &mut |_| {}, &CancelToken::new())
        }

        fn pipe(&self) -> PathBuf {
            let pipe = self.at("pipe");
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .expect("made");
            pipe
        }

        fn working(&self) -> usize {
            fs::read_dir(self.store.locations().backend.join(".working")).expect("readable").count()
        }
    }

    #[test]
    fn a_name_that_is_taken_is_replaced_only_when_asked() {
        let fixture = Fixture::new();
        let first = fixture.import("disk.img", |_| {}).expect("imported");
        let inode = || fs::metadata(&first.path).expect("there").ino();
        let before = inode();
        let error = fixture.import("disk.img", |_| {}).expect_err("taken");
        assert_eq!(error.to_string(), "An image with the name 'it' already exists");
        assert_eq!((error.kind(), inode()), (ErrorKind::ImageExists, before));
        fixture.import("disk.img", |options| options.replace = true).expect("replaced");
        assert_ne!(inode(), before);
        assert_eq!(fixture.working(), 0);
    }

    #[test]
    fn the_checksum_is_compared() {
        let fixture = Fixture::new();
        let checksum = |digest: &str| Some(Checksum::sha256(digest).expect("a digest"));
        let wrong = checksum(&"0".repeat(64));
        let error = fixture.import("disk.img", |options| options.checksum = wrong).expect_err("another");
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        let right = error.report().split(' ').find(|word| word.len() == 65).expect("it is said").to_owned();
        let right = checksum(right.trim_end_matches(','));
        fixture.import("disk.img", |options| options.checksum = right).expect("imported");
        assert_eq!(Checksum::sha256("12").expect_err("too short").kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn what_comes_through_a_pipe_is_unpacked() {
        let fixture = Fixture::new();
        let pipe = fixture.pipe();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pipe = File::options().write(true).open(&pipe).expect("opened");
                let mut encoder = flate2::write::GzEncoder::new(pipe, flate2::Compression::fast());
                encoder.write_all(&vec![7; 3 << 20]).expect("written");
                encoder.finish().expect("written");
            });
            let image = fixture.import("pipe", |_| {}).expect("imported");
            assert_eq!(image.virtual_size, 3 << 20);
        });
        assert_eq!(fixture.working(), 0);
    }

    #[test]
    fn a_cancel_ends_the_wait_for_a_pipe() {
        let fixture = Fixture::new();
        let pipe = fixture.pipe();
        let cancel = CancelToken::new();
        std::thread::scope(|scope| {
            let importing = scope.spawn(|| {
                let options = ImportOptions::new(&pipe, ImageName::new("it").expect("a name"));
                import(&fixture.store, &options, &mut |_| {}, &cancel)
            });
            // Opening waits until the other end is there.
            let mut pipe = File::options().write(true).open(&pipe).expect("opened");
            pipe.write_all(&[7; 100]).expect("written");
            cancel.cancel();
            let error = importing.join().expect("no panic").expect_err("cancelled");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
        assert_eq!(fixture.working(), 0);
    }
}
