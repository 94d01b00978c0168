//! The files of the records. What is read there may be anything.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{Making, Parent, Provenance, Recipe};
use crate::ImageName;
use crate::layer::Key;
use crate::store::failure;

/// Where records are, in the backend. Release 0.25 takes no name that begins with `.` for an image.
const FOLDER: &str = ".provenance";
/// The form of the records. It counts up when older releases cannot read them any more.
const FORMAT: u32 = 1;
/// Longer records are not read, and not written.
const LONGEST: u64 = 4 << 20;

/// Tells one file from another that takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// In bytes.
    length: u64,
    /// In nanoseconds since 1970.
    modified: i64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { length: metadata.len(), modified }
    }

    /// Returns what a build remembers of the image that it started from.
    pub(crate) fn parent(self, name: &ImageName, id: Option<String>) -> Parent {
        Parent { name: name.as_str().to_owned(), id, length: self.length, modified: self.modified }
    }
}

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// The image's name.
    name: String,
    /// The image file.
    file: Identity,
    #[serde(flatten)]
    told: Told,
    /// The inode of the image file. A copy of the file is the same image, but what has its length and its time alone
    /// is not enough to be taken for it in a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
}

/// What is told of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) provenance: Provenance,
    /// What other builds know it by, if it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recipe: Option<Recipe>,
}

impl From<Making> for Told {
    fn from(making: Making) -> Self {
        Self { provenance: making.into(), recipe: None }
    }
}

/// Only the form, which every release can read.
#[derive(Deserialize)]
struct AnyRecord {
    format: u32,
}

/// A record that is on disk, but not yet in its place.
#[derive(Debug)]
pub(crate) struct Written(PathBuf);

/// The folder of the records of a backend.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of(backend: &Path) -> Self {
        Self(backend.join(FOLDER))
    }

    /// Returns what is known of the making of an image file; nothing if that is about another file.
    ///
    /// # Errors
    ///
    /// A sentence that says why there is a record but cannot be used.
    pub(crate) fn read(&self, name: &ImageName, file: Identity) -> Result<Option<Told>, String> {
        let path = self.path(name);
        match read(&path) {
            Ok(Some(record)) if record.name != name.as_str() => {
                Err(ignored(&path, &format!("it is about an image '{}'", record.name.escape_debug())))
            }
            Ok(record) => {
                let fitting = record.filter(|record| record.file == file);
                Ok(fitting.map(|record| record.told))
            }
            Err(reason) => Err(ignored(&path, &reason)),
        }
    }

    /// Writes a record into a folder of work in progress, on the same filesystem.
    pub(crate) fn write(
        name: &ImageName,
        file: &Metadata,
        told: Told,
        working: &Path,
    ) -> Result<Written, crate::Error> {
        let path = working.join("provenance.json");
        let inode = told.recipe.is_some().then(|| file.ino());
        let (name, file) = (name.as_str().to_owned(), Identity::of(file));
        let record = Record { format: FORMAT, name, file, told, inode };
        write(&path, &bounded(record)).map_err(|error| failure("cannot write", &path, error))?;
        Ok(Written(path))
    }

    /// Puts a record in its place, or removes the one that is there.
    pub(crate) fn replace(&self, name: &ImageName, written: Option<Written>) -> Result<(), crate::Error> {
        let Some(Written(path)) = written else { return self.remove(name) };
        fs::create_dir_all(&self.0).map_err(|error| failure("cannot make the folder", &self.0, error))?;
        let place = self.path(name);
        fs::rename(path, &place).map_err(|error| failure("cannot put a record at", &place, error))
    }

    /// Removes the record of an image, if there is one.
    pub(crate) fn remove(&self, name: &ImageName) -> Result<(), crate::Error> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failure("cannot remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the files in the folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
        files.map(|entry| entry.path()).collect()
    }

    /// Tells whether a record is about this image file.
    pub(crate) fn is_about(path: &Path, file: Identity) -> bool {
        matches!(read(path), Ok(Some(record)) if record.file == file)
    }

    /// Returns what is told of an image that was made by a recipe with this key, if it is still that very file.
    pub(crate) fn recipe(&self, name: &ImageName, file: &Metadata, key: &Key) -> Option<Told> {
        let record = read(&self.path(name)).ok().flatten()?;
        let about = record.name == name.as_str() && record.file == Identity::of(file);
        let same = record.told.recipe.as_ref().is_some_and(|recipe| recipe.key == *key);
        (about && same && record.inode == Some(file.ino())).then_some(record.told)
    }

    /// Returns the names of images whose records may have this key. Few have it, and all are looked at.
    pub(crate) fn mentioning(&self, key: &Key) -> Vec<ImageName> {
        let key = key.to_string();
        let text = |path: &PathBuf| String::from_utf8(read_text(path).ok()??).ok();
        let mentions = |path: &PathBuf| text(path).is_some_and(|text| text.contains(&key));
        let names = self.files().into_iter().filter(mentions);
        names.filter_map(|path| ImageName::from_encoded(path.file_name()?)).collect()
    }

    fn path(&self, name: &ImageName) -> PathBuf {
        self.0.join(name.encoded())
    }
}

fn ignored(path: &Path, reason: &str) -> String {
    format!("'{}' does not tell how the image was made: {reason}", path.display())
}

fn read(path: &Path) -> Result<Option<Record>, String> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let damaged = |error: serde_json::Error| format!("it is damaged ({error})");
    let AnyRecord { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format != FORMAT {
        return Err(format!("it has the form {format}, which only another release of transient knows"));
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

fn read_text(path: &Path) -> Result<Option<Vec<u8>>, String> {
    // Not through a link, and without waiting for the other end of a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is no regular file".to_owned());
    }
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LONGEST {
        return Err("it is too long".to_owned());
    }
    Ok(Some(text))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Returns a record as text, without older steps if it would be too long to be read.
fn bounded(mut record: Record) -> Vec<u8> {
    loop {
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        let steps = &mut record.told.provenance.steps;
        if text.len() as u64 <= LONGEST || steps.is_empty() {
            return text;
        }
        steps.drain(..steps.len().div_ceil(2));
    }
}
