//! Digests of whole images, remembered: an image is read-only, so one that is still the same file is not read again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::event::Reporter;
use crate::{CancelToken, Error};

/// Where digests are remembered, in the cache.
const FOLDER: &str = "digests";
/// How much is read at a time, and hashed on all cores.
const CHUNK: usize = 8 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    length: u64,
    /// Not when the file was last changed in any way: it gets and loses names.
    modified: (i64, i64),
    digest: Digest,
}

/// Returns the digest of an image's file.
pub(crate) fn digest_of(
    image: &Path,
    cache: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Digest, Error> {
    let failed = |error| Error::io(format!("cannot read '{}'", image.display()), error);
    let file = File::open(image).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let (length, modified) = (metadata.len(), (metadata.mtime(), metadata.mtime_nsec()));
    let note = cache.join(FOLDER).join(format!("{}-{}.json", metadata.dev(), metadata.ino()));
    if let Some(known) = recall(&note).filter(|known| (known.length, known.modified) == (length, modified)) {
        return Ok(known.digest);
    }
    let digest = read(&file, length, reporter, cancel)
        .map_err(|error| cancel.check().err().unwrap_or_else(|| failed(error)))?;
    if let Err(error) = remember(&note, &Remembered { length, modified, digest }) {
        tracing::debug!("'{}' is not remembered: {error}", image.display());
    }
    Ok(digest)
}

fn recall(note: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

fn remember(note: &PathBuf, remembered: &Remembered) -> io::Result<()> {
    let folder = note.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, remembered)?;
    file.persist(note)?;
    Ok(())
}

fn read(mut file: &File, total: u64, reporter: &Reporter, cancel: &CancelToken) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        cancel.check().map_err(io::Error::other)?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => {
                hasher.update_rayon(&buffer[..length]);
                done += length as u64;
                reporter.progress("Reading the base image", done, Some(total));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_as_long_as_the_file_is_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, cache) = (folder.path().join("image"), folder.path().join("cache"));
        let (reporter, _events) = Reporter::channel();
        let digest = || digest_of(&image, &cache, &reporter, &CancelToken::new()).expect("read");
        fs::write(&image, "one").expect("written");
        assert_eq!(digest(), Digest::of(b"one"));
        let note =
            fs::read_dir(cache.join(FOLDER)).expect("made").next().expect("a note").expect("readable").path();
        let text = fs::read_to_string(&note).expect("readable");
        fs::write(&note, text.replace(&Digest::of(b"one").to_string(), &Digest::of(b"x").to_string()))
            .expect("written");
        assert_eq!(digest(), Digest::of(b"x"), "it is not read again");
        // Its times are kept only so finely.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&image, "two").expect("written");
        assert_eq!(digest(), Digest::of(b"two"));
        fs::write(&note, "damaged").expect("written");
        assert_eq!(digest(), Digest::of(b"two"));
    }
}
