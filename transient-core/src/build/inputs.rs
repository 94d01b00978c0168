//! What COPY and ADD read, as it counts for the cache: names, types, modes, targets of links, and bytes. Never times,
//! inodes or owners.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use blake3::Hasher;
use rustix::fs::FileType;

use super::context::Context;
use super::walk::{Found, unreadable, walk};
use crate::imagefile::Transfer;
use crate::layer::{Digest, Input};
use crate::{CancelToken, Error};

/// The bits of a mode that count. Whether group and others may write comes from the umask of whoever made the
/// checkout: the same files of another person must be the same inputs.
const MODE: u32 = 0o7755;
/// How many files may be open, and wait to be read.
const WAITING: usize = 64;
/// How much of a file is read at a time.
const CHUNK: usize = 1 << 17;
/// The same for a large file, which is hashed on all cores.
const LARGE_CHUNK: usize = 8 << 20;

/// Whether ADD reads the sources, which looks into what a link leads to, or COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Links,
    Targets,
}

/// Returns everything that an instruction reads, in order.
pub(super) fn inputs(
    context: &Context,
    transfer: &Transfer,
    reads: Reads,
    cancel: &CancelToken,
) -> Result<Vec<Input>, Error> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (files, waiting) = async_channel::bounded::<Waiting>(WAITING);
    thread::scope(|scope| {
        let hashing: Vec<_> = (0..workers).map(|_| scope.spawn(|| hash_all(&waiting, cancel))).collect();
        let mut list = List { inputs: Vec::new(), files };
        let listed = list.add_all(context, transfer, reads);
        let mut inputs = list.inputs;
        drop(list.files);
        for worker in hashing {
            // A panic goes on in the caller's thread.
            for (index, digest) in worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
                inputs[index].digest = digest;
            }
        }
        listed.map(|()| inputs)
    })
}

/// A file whose bytes are to be hashed, and which input it is.
struct Waiting {
    index: usize,
    file: File,
    size: u64,
    shown: PathBuf,
}

struct List {
    inputs: Vec<Input>,
    files: async_channel::Sender<Waiting>,
}

impl List {
    fn add_all(&mut self, context: &Context, transfer: &Transfer, reads: Reads) -> Result<(), Error> {
        for path in &transfer.sources {
            let source = context.find(path)?;
            if reads == Reads::Targets && source.kind != FileType::Directory {
                self.add_target(context, path)?;
            } else {
                walk(&source, &context.hidden(), &mut |found| self.add(path, found))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, source: &Path, found: &Found<'_>) -> Result<(), Error> {
        let path = source.parent().unwrap_or(Path::new("")).join(found.target);
        let mode = found.stat.st_mode & MODE;
        let (kind, digest) = match found.kind() {
            FileType::Directory => ("directory", Digest::none()),
            // Its mode says nothing.
            FileType::Symlink => {
                let digest = Digest::of(found.link()?.as_encoded_bytes());
                self.inputs.push(Input { path, kind: "link".to_owned(), mode: 0, digest });
                return Ok(());
            }
            FileType::RegularFile => {
                self.hash_later(found.open()?, found.size(), found.shown);
                ("file", Digest::none())
            }
            _ => ("special", Digest::none()),
        };
        self.inputs.push(Input { path, kind: kind.to_owned(), mode, digest });
        Ok(())
    }

    fn add_target(&mut self, context: &Context, path: &Path) -> Result<(), Error> {
        use std::os::unix::fs::MetadataExt;
        let file = context.open_file(path)?;
        let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
        if metadata.is_file() {
            self.hash_later(file, metadata.len(), path);
        }
        let mode = metadata.mode() & MODE;
        self.inputs.push(Input {
            path: path.to_owned(),
            kind: "file".to_owned(),
            mode,
            digest: Digest::none(),
        });
        Ok(())
    }

    /// Has the next input's digest made of a file.
    fn hash_later(&mut self, file: File, size: u64, shown: &Path) {
        let waiting = Waiting { index: self.inputs.len(), file, size, shown: shown.to_owned() };
        // The workers only go away when one of them failed, which is then what is told.
        let _ = self.files.send_blocking(waiting);
    }
}

fn hash_all(
    files: &async_channel::Receiver<Waiting>,
    cancel: &CancelToken,
) -> Result<Vec<(usize, Digest)>, Error> {
    let mut digests = Vec::new();
    let mut buffer = vec![0; CHUNK];
    while let Ok(waiting) = files.recv_blocking() {
        let hashed = hash(&waiting, &mut buffer, cancel);
        if hashed.is_err() {
            files.close();
        }
        digests.push((waiting.index, hashed?));
    }
    Ok(digests)
}

fn hash(waiting: &Waiting, buffer: &mut Vec<u8>, cancel: &CancelToken) -> Result<Digest, Error> {
    let large = waiting.size >= LARGE_CHUNK as u64;
    if large {
        buffer.resize(LARGE_CHUNK, 0);
    }
    let mut hasher = Hasher::new();
    let mut file = &waiting.file;
    loop {
        cancel.check()?;
        match file.read(buffer) {
            Ok(0) => return Ok(Digest::from(hasher.finalize())),
            Ok(length) if large => drop(hasher.update_rayon(&buffer[..length])),
            Ok(length) => drop(hasher.update(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&waiting.shown, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { folder: tempfile::tempdir().expect("a folder") };
            fs::create_dir_all(fixture.at("d/sub")).expect("made");
            for file in ["d/a", "d/sub/b", "f"] {
                fs::write(fixture.at(file), file).expect("written");
            }
            fixture.mode("f", 0o644);
            symlink("a", fixture.at("d/link")).expect("linked");
            fixture
        }

        fn at(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        fn mode(&self, path: &str, mode: u32) {
            fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("set");
        }

        fn read(&self, sources: &[&str], reads: Reads) -> Vec<Input> {
            let context = Context::open(self.folder.path()).expect("opened");
            let sources = sources.iter().map(PathBuf::from).collect();
            let transfer = Transfer { sources, destination: "/".into() };
            inputs(&context, &transfer, reads, &CancelToken::new()).expect("read")
        }

        /// Whether what a change does to the sources counts.
        fn counts(change: impl FnOnce(&Self)) -> bool {
            let fixture = Self::new();
            let before = fixture.read(&["d", "f"], Reads::Links);
            change(&fixture);
            before != fixture.read(&["d", "f"], Reads::Links)
        }
    }

    #[test]
    fn names_types_modes_targets_and_bytes_count() {
        assert!(
            Fixture::counts(|fixture| fs::rename(fixture.at("d/a"), fixture.at("d/c")).expect("renamed"))
        );
        assert!(Fixture::counts(|fixture| fs::write(fixture.at("d/sub/b"), "d/sub/c").expect("written")));
        assert!(Fixture::counts(|fixture| fixture.mode("f", 0o755)));
        assert!(Fixture::counts(|fixture| fixture.mode("f", 0o4644)));
        assert!(Fixture::counts(|fixture| fixture.mode("f", 0o600)));
        assert!(Fixture::counts(|fixture| fs::create_dir(fixture.at("d/new")).expect("made")));
        assert!(Fixture::counts(|fixture| {
            fs::remove_file(fixture.at("d/link")).expect("removed");
            symlink("b", fixture.at("d/link")).expect("linked");
        }));
        assert!(Fixture::counts(|fixture| {
            fs::remove_file(fixture.at("d/link")).expect("removed");
            fs::write(fixture.at("d/link"), "a").expect("written");
        }));
    }

    #[test]
    fn times_inodes_and_the_umask_do_not_count() {
        assert!(!Fixture::counts(|_| ()));
        assert!(!Fixture::counts(|fixture| {
            let file = File::options().write(true).open(fixture.at("f")).expect("there");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
        }));
        assert!(!Fixture::counts(|fixture| {
            fs::rename(fixture.at("f"), fixture.at("old")).expect("renamed");
            fs::write(fixture.at("f"), "f").expect("written");
            fixture.mode("f", 0o664);
        }));
    }

    #[test]
    fn add_reads_what_a_link_leads_to() {
        let fixture = Fixture::new();
        symlink("f", fixture.at("archive")).expect("linked");
        let before = fixture.read(&["archive"], Reads::Targets);
        let copied = fixture.read(&["archive"], Reads::Links);
        fs::write(fixture.at("f"), "new").expect("written");
        assert_ne!(before, fixture.read(&["archive"], Reads::Targets));
        assert_eq!(copied, fixture.read(&["archive"], Reads::Links));
    }

    #[test]
    fn a_large_file_has_the_digest_that_everyone_computes() {
        let fixture = Fixture::new();
        let bytes = vec![7; 2 * LARGE_CHUNK + 1];
        fs::write(fixture.at("f"), &bytes).expect("written");
        assert_eq!(fixture.read(&["f"], Reads::Links)[0].digest, Digest::of(&bytes));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let fixture = Fixture::new();
        let context = Context::open(fixture.folder.path()).expect("opened");
        let transfer = Transfer { sources: vec!["gone".into()], destination: "/".into() };
        let error = inputs(&context, &transfer, Reads::Links, &CancelToken::new()).expect_err("missing");
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
