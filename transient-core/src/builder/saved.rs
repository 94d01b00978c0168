//! Builders that have booted and were saved, in the cache: the next build goes on from there.
//!
//! They hold as long as the host runs, and are never synced: a boot costs no more than to save one again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::host::boot_id;
use crate::layer::{Digest, Key, KeyMaker};
use crate::qemu::{Configuration, Memory};
use crate::store::{Lock, Scratch};
use crate::witness::Witness;

/// Where they are, in the cache.
const FOLDER: &str = "builders";
/// How the names of folders begin in which they are made.
const SCRATCH: &str = ".saving-";
const MEMORY: &str = "memory";
const DEVICES: &str = "devices";
const RECORD: &str = "record.json";
/// The form of all this; another one is not read.
const FORM: u32 = 1;
/// How many are kept: a user has one configuration, or a few.
const KEPT: usize = 3;
/// How much memory is read at a time, in bytes.
const CHUNK: usize = 1 << 20;
/// A page of zeros is left out, in bytes.
const PAGE: usize = 4096;
/// A state of devices that is longer is not ours, in bytes.
pub(super) const LONGEST_STATE: u64 = 16 << 20;

/// The saved builders of a cache.
#[derive(Debug)]
pub(super) struct SavedBuilders {
    folder: PathBuf,
}

/// A saved builder, which holds even when it is thrown away meanwhile.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) memory: File,
    pub(super) devices: Vec<u8>,
}

/// The place of a builder that is being saved.
#[derive(Debug)]
pub(super) struct Saving {
    builders: SavedBuilders,
    key: Key,
    scratch: Scratch,
    /// Whether it was begun before, and came to nothing.
    pub(super) again: bool,
    _lock: Lock,
}

/// What is written beside a saved builder.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// That of the host.
    boot: String,
    memory: Witness,
    devices: Digest,
}

/// Returns the key of all builders that are the same machine, booted from the same appliance; `None` when that cannot
/// be told.
pub(super) fn key(configuration: &Configuration, appliance: &str) -> Option<Key> {
    let program = fs::canonicalize(which::which(&configuration.program).ok()?).ok()?;
    let mut maker = KeyMaker::new("builder");
    maker.part("form", &FORM.to_le_bytes());
    maker.part("appliance", appliance.as_bytes());
    maker.part("path", program.as_os_str().as_encoded_bytes());
    maker.part("program", &serde_json::to_vec(&Witness::of(&File::open(program).ok()?).ok()?).ok()?);
    // The appliance stands for its files, and a disk for any other.
    let machine = Configuration {
        kernel: PathBuf::new(),
        initramfs: PathBuf::new(),
        disk: None,
        ..configuration.clone()
    };
    machine
        .arguments(&Memory::Empty)
        .iter()
        .for_each(|argument| maker.part("argument", argument.as_encoded_bytes()));
    Some(maker.finish())
}

impl SavedBuilders {
    pub(super) fn below(cache: &Path) -> Self {
        Self { folder: cache.join(FOLDER) }
    }

    /// Returns a builder that was saved since the host booted, and is as it was then.
    pub(super) fn find(&self, key: Key) -> Option<Saved> {
        let folder = self.folder.join(key.to_string());
        let record: Record = serde_json::from_slice(&read(&folder.join(RECORD))?).ok()?;
        let devices = read(&folder.join(DEVICES))?;
        let memory = File::open(folder.join(MEMORY)).ok()?;
        let whole = record.boot == boot_id()
            && record.devices == Digest::of(&devices)
            && Witness::of(&memory).is_ok_and(|witness| witness == record.memory);
        // Only for the order in which they are thrown away.
        let _ = File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now()));
        whole.then_some(Saved { memory, devices })
    }

    /// Throws one away.
    pub(super) fn remove(&self, key: Key) {
        self.throw_away(&self.folder.join(key.to_string()));
    }

    /// Begins to save one, unless somebody else does.
    pub(super) fn begin(self, key: Key) -> Option<Saving> {
        fs::create_dir_all(&self.folder).ok()?;
        let lock = Lock::try_take(&self.folder.join(format!("{key}.lock"))).ok()??;
        let scratch = Scratch::make_clean(&self.folder, SCRATCH).ok()?;
        let begun = self.begun(key);
        let again = begun.exists();
        File::create(begun).ok()?;
        Some(Saving { builders: self, key, scratch, again, _lock: lock })
    }

    /// The file that says that it was begun to save a builder, until that is done.
    fn begun(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{key}.begun"))
    }

    /// Nobody sees a half of it: it goes under another name.
    fn throw_away(&self, folder: &Path) {
        let moved = Scratch::make(&self.folder, SCRATCH)
            .map_err(io::Error::other)
            .and_then(|scratch| fs::rename(folder, scratch.path().join("builder")));
        if let Err(error) = moved {
            tracing::debug!("'{}' is not thrown away: {error}", folder.display());
        }
    }

    /// Keeps those that were used last.
    fn prune(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let saved = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<Key>().is_ok()));
        let mut saved: Vec<_> =
            saved.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        saved.sort();
        let over = saved.len().saturating_sub(KEPT);
        saved.iter().take(over).for_each(|(_, folder)| self.throw_away(folder));
    }
}

impl Saving {
    /// Keeps a builder that has stopped.
    pub(super) fn keep(self, memory: &File, devices: &[u8]) -> io::Result<()> {
        // What else is in the scratch folder is its lock.
        let whole = self.scratch.path().join("builder");
        fs::create_dir(&whole)?;
        let copy = File::options().read(true).write(true).create_new(true).open(whole.join(MEMORY))?;
        copy_data(memory, &copy)?;
        fs::write(whole.join(DEVICES), devices)?;
        let record = Record { boot: boot_id(), memory: Witness::of(&copy)?, devices: Digest::of(devices) };
        fs::write(whole.join(RECORD), serde_json::to_vec(&record)?)?;
        let folder = self.builders.folder.join(self.key.to_string());
        if folder.exists() {
            self.builders.throw_away(&folder);
        }
        fs::rename(whole, folder)?;
        fs::remove_file(self.builders.begun(self.key))?;
        self.builders.prune();
        Ok(())
    }
}

/// Copies what of a file is not zero; the rest takes no place.
fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut chunk = vec![0; CHUNK];
    let mut end = 0;
    while end < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        for offset in (start..end).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(usize::try_from(end - offset).unwrap_or(CHUNK))];
            from.read_exact_at(part, offset)?;
            write_pages(to, part, offset)?;
        }
    }
    Ok(())
}

/// Writes the pages that are not zero, neighbours at once.
fn write_pages(to: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
    let mut at = offset;
    for run in pages.chunk_by(|one, other| is_zero(one) == is_zero(other)) {
        let length = run.iter().map(|page| page.len()).sum::<usize>();
        let from = usize::try_from(at - offset).unwrap_or(0);
        if !is_zero(run[0]) {
            to.write_all_at(&bytes[from..from + length], at)?;
        }
        at += length as u64;
    }
    Ok(())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST_STATE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::qemu::Accelerated;

    const MEMORY_SIZE: u64 = 4 << 20;

    struct Fixture {
        cache: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self { cache: tempfile::tempdir().expect("a folder") }
        }

        fn builders(&self) -> SavedBuilders {
            SavedBuilders::below(self.cache.path())
        }

        fn save(&self, name: &str) -> Key {
            let key = Digest::of(name.as_bytes());
            let saving = self.builders().begin(key).expect("nobody else does");
            let memory = tempfile::tempfile().expect("a file");
            memory.set_len(MEMORY_SIZE).expect("set");
            memory.write_all_at(&vec![7; 3 * PAGE], CHUNK as u64 - 1).expect("written");
            memory.write_all_at(&vec![0; PAGE], 3 * CHUNK as u64).expect("written");
            memory.write_all_at(name.as_bytes(), MEMORY_SIZE - 1).expect("written");
            memory.set_len(MEMORY_SIZE).expect("set");
            saving.keep(&memory, b"devices").expect("kept");
            key
        }

        fn file(&self, key: Key, name: &str) -> PathBuf {
            self.cache.path().join(FOLDER).join(key.to_string()).join(name)
        }
    }

    #[test]
    fn what_was_saved_is_found_and_nothing_else_stays() {
        let fixture = Fixture::new();
        let key = fixture.save("a");
        let saved = fixture.builders().find(key).expect("there");
        assert_eq!(saved.devices, b"devices");
        let metadata = saved.memory.metadata().expect("open");
        assert_eq!(metadata.len(), MEMORY_SIZE);
        assert!(metadata.blocks() * 512 <= 6 * PAGE as u64, "zeros take no place: {}", metadata.blocks());
        let mut bytes = vec![0; MEMORY_SIZE as usize];
        saved.memory.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(bytes.iter().filter(|byte| **byte == 7).count(), 3 * PAGE);
        assert_eq!((bytes[CHUNK - 2], bytes[CHUNK - 1], bytes[MEMORY_SIZE as usize - 1]), (0, 7, b'a'));
        assert!(fixture.builders().find(Digest::of(b"b")).is_none());
        fixture.builders().remove(key);
        assert!(fixture.builders().find(key).is_none());
        assert_eq!(fs::read_dir(fixture.cache.path().join(FOLDER)).expect("there").count(), 0);
    }

    #[test]
    fn what_was_altered_is_not_restored() {
        type Alteration = (&'static str, fn(&Path));
        let alterations: [Alteration; 6] = [
            (MEMORY, |file| File::options().write(true).open(file).unwrap().write_all_at(b"x", 9).unwrap()),
            (MEMORY, |file| File::options().write(true).open(file).unwrap().set_len(4096).unwrap()),
            (MEMORY, |file| fs::remove_file(file).unwrap()),
            (DEVICES, |file| fs::write(file, "device").unwrap()),
            (RECORD, |file| fs::write(file, "{").unwrap()),
            (RECORD, |file| {
                let text = fs::read_to_string(file).unwrap().replace(&boot_id(), "another");
                fs::write(file, text).unwrap();
            }),
        ];
        for (number, (name, alter)) in alterations.iter().enumerate() {
            let fixture = Fixture::new();
            let key = fixture.save("a");
            alter(&fixture.file(key, name));
            assert!(fixture.builders().find(key).is_none(), "{number}");
            fixture.save("a");
            assert!(fixture.builders().find(key).is_some(), "{number}");
        }
    }

    #[test]
    fn one_saves_and_a_half_is_never_seen() {
        let fixture = Fixture::new();
        let key = Digest::of(b"a");
        let saving = fixture.builders().begin(key).expect("the first");
        assert!(fixture.builders().begin(key).is_none());
        assert!(fixture.builders().find(key).is_none());
        drop(saving);
        assert!(fixture.builders().begin(key).is_some_and(|saving| saving.again));
        assert_eq!(fs::read_dir(fixture.cache.path().join(FOLDER)).expect("there").count(), 1);
        fixture.save("a");
        assert_eq!(fs::read_dir(fixture.cache.path().join(FOLDER)).expect("there").count(), 1);
        fixture.builders().remove(key);
        assert!(fixture.builders().begin(key).is_some_and(|saving| !saving.again));
    }

    #[test]
    fn the_longest_unused_go() {
        let fixture = Fixture::new();
        let first = fixture.save("0");
        let others: Vec<_> = (1..=KEPT).map(|number| fixture.save(&number.to_string())).collect();
        assert!(fixture.builders().find(first).is_none());
        assert!(others.iter().all(|key| fixture.builders().find(*key).is_some()));
    }

    #[test]
    fn machines_that_differ_have_keys_that_differ() {
        let configuration = Configuration {
            program: "sh".into(),
            accelerated: Accelerated::Tcg,
            memory: 1 << 30,
            cpus: 2,
            kernel: "/a/kernel".into(),
            initramfs: "/a/initramfs".into(),
            disk: None,
            network: true,
            background: false,
        };
        let same = Configuration { kernel: "/b/kernel".into(), background: true, ..configuration.clone() };
        assert_eq!(key(&configuration, "a"), key(&same, "a"));
        let others = [
            Configuration { memory: 2 << 30, ..configuration.clone() },
            Configuration { cpus: 1, ..configuration.clone() },
            Configuration { network: false, ..configuration.clone() },
            Configuration { program: "ls".into(), ..configuration.clone() },
        ];
        assert!(others.iter().all(|other| key(other, "a") != key(&configuration, "a")));
        assert_ne!(key(&configuration, "a"), key(&configuration, "b"));
        assert_eq!(key(&Configuration { program: "/nowhere".into(), ..configuration }, "a"), None);
    }
}
