//! The folder of the layers, in the cache: found, claimed, published, thrown away.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use super::{Key, Made, Record};
use crate::error::CACHE_IS_FULL;
use crate::event::Reporter;
use crate::store::{Lock, Scratch};
use crate::{CancelToken, Error, ErrorKind, host};

/// Where layers are, in the cache.
const FOLDER: &str = "layers";
/// How the names of folders begin in which builds make layers.
const SCRATCH: &str = ".build-";
const DISK: &str = "disk.qcow2";
const RECORD: &str = "record.json";
/// Nobody may write to a layer.
const READ_ONLY: u32 = 0o444;
/// A longer record is not ours.
const LONGEST_RECORD: u64 = 1 << 16;
/// The unit in which the system counts the blocks of a file, in bytes.
const BLOCK: u64 = 512;

/// The layers of a cache.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    folder: PathBuf,
    boot: String,
}

/// A layer that is whole. While this exists, it is not thrown away.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) record: Record,
    /// Its file, in which what it stands on is not named.
    pub(crate) disk: PathBuf,
    file: File,
}

/// A layer as it is listed.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) record: Record,
    /// What it occupies, in bytes.
    pub(crate) size: u64,
    pub(crate) used: SystemTime,
}

impl Layer {
    fn folder(&self) -> &Path {
        self.disk.parent().unwrap_or(Path::new(""))
    }
}

impl Layers {
    /// Returns the layers of a cache, which need not be there.
    pub(crate) fn below(cache: &Path) -> Self {
        Self { folder: cache.join(FOLDER), boot: host::boot_id() }
    }

    /// Opens the layers of a cache, and makes the folder where it is missing.
    pub(crate) fn open(cache: &Path) -> Result<Self, Error> {
        let folder =
            std::path::absolute(cache.join(FOLDER)).map_err(|error| failed("cannot find", cache, error))?;
        fs::create_dir_all(&folder).map_err(|error| {
            failed("cannot make the folder", &folder, error)
                .hint("builds are done in the cache: TRANSIENT_CACHE names another folder for it")
        })?;
        Ok(Self { folder, boot: host::boot_id() })
    }

    /// Makes a folder for layers to come, and clears away those of the dead.
    pub(crate) fn scratch(&self) -> Result<Scratch, Error> {
        Scratch::make_clean(&self.folder, SCRATCH)
    }

    /// Takes a key, to make its layer. While another build has it, says so and waits.
    pub(crate) fn claim(
        &self,
        key: Key,
        what: &str,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Lock, Error> {
        Lock::take(&self.folder.join(format!("{key}.lock")), what, reporter, cancel)
    }

    /// Takes a key unless another build has it.
    pub(crate) fn try_claim(&self, key: Key) -> Option<Lock> {
        Lock::try_take(&self.folder.join(format!("{key}.lock"))).ok().flatten()
    }

    /// Returns a layer and all that it stands on, the lowest first, if all of it is whole.
    pub(crate) fn chain(&self, key: Key) -> Option<Vec<Layer>> {
        let mut chain = vec![self.find(key)?];
        while let Some(above) = chain.last()
            && let Some(key) = above.record.made.parent
        {
            let layer = self.find(key)?;
            if above.record.made.below != Some(layer.record.identity()) {
                return None;
            }
            chain.push(layer);
        }
        chain.reverse();
        Some(chain)
    }

    /// Returns a layer, if it is there and whole.
    pub(crate) fn find(&self, key: Key) -> Option<Layer> {
        let folder = self.folder.join(key.to_string());
        let disk = folder.join(DISK);
        let file = File::open(&disk).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        // Whoever throws a layer away has it locked until its folder has another name.
        let record = read_record(&folder)?;
        if !is_at(&file, &disk) || !record.holds(key, &file, &self.boot) {
            return None;
        }
        // Only for the order in which layers are thrown away.
        let _ = File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now()));
        Some(Layer { record, disk, file })
    }

    /// Makes a file a layer, and returns it. It must not be written to any more.
    ///
    /// If there is one by now that is not to be replaced, the file stays where it is, and is used all the same.
    pub(crate) fn publish(&self, key: Key, made: Made, disk: &Path, replace: bool) -> Result<Layer, Error> {
        let layer = self.set_aside(key, made, disk)?;
        let folder = self.folder.join(key.to_string());
        if !replace && self.find(key).is_some() {
            return Ok(layer);
        }
        // What is there, and is no layer, only stands in the way.
        let _ = self.throw_away(key);
        if let Err(error) = fs::rename(layer.folder(), &folder) {
            tracing::debug!("'{}' is not published: {error}", folder.display());
            return Ok(layer);
        }
        Ok(Layer { disk: folder.join(DISK), ..layer })
    }

    /// Makes a file a layer that nobody else finds, beside the file. It must not be written to any more.
    pub(crate) fn set_aside(&self, key: Key, made: Made, disk: &Path) -> Result<Layer, Error> {
        let failed = |error| failed("cannot keep", disk, error);
        let parts = disk.with_extension("layer");
        fs::create_dir(&parts).map_err(failed)?;
        let within = parts.join(DISK);
        fs::rename(disk, &within).map_err(failed)?;
        fs::set_permissions(&within, Permissions::from_mode(READ_ONLY)).map_err(failed)?;
        let file = File::open(&within).map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockShared).map_err(|error| failed(error.into()))?;
        let record = Record::new(key, made, &file, &self.boot).map_err(failed)?;
        write_record(&parts, &record).map_err(failed)?;
        Ok(Layer { record, disk: within, file })
    }

    /// Has the host's disk keep layers for longer than until the host goes down.
    pub(crate) fn sync(&self, layers: &[Layer]) {
        for layer in layers {
            let folder = layer.folder();
            let synced =
                layer.file.sync_all().and_then(|()| write_record(folder, &layer.record.clone().synced()));
            if let Err(error) = synced {
                tracing::debug!("'{}' is not synced: {error}", folder.display());
            }
        }
    }

    /// Returns all layers that are whole, in no order.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let keys = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Key>().ok());
        keys.filter_map(|key| self.listed(key)).collect()
    }

    fn listed(&self, key: Key) -> Option<Listed> {
        let folder = self.folder.join(key.to_string());
        let used = fs::metadata(&folder).ok()?.modified().ok()?;
        let size = fs::metadata(folder.join(DISK)).ok()?.blocks() * BLOCK;
        Some(Listed { record: read_record(&folder)?, size, used })
    }

    /// Throws the layers away that were not used for the longest time, until those that are left occupy no more than
    /// `limit` bytes. None that is in use. Returns how many bytes that freed.
    pub(crate) fn prune(&self, limit: u64) -> u64 {
        let mut layers = self.list();
        layers.sort_by_key(|layer| layer.used);
        let mut total: u64 = layers.iter().map(|layer| layer.size).sum();
        let before = total;
        for layer in layers {
            if total <= limit {
                break;
            }
            if self.throw_away(layer.record.key).is_ok() {
                total -= layer.size;
            }
        }
        before - total
    }

    /// Throws a layer away, whatever is in its folder, unless it is in use.
    pub(crate) fn throw_away(&self, key: Key) -> io::Result<()> {
        let folder = self.folder.join(key.to_string());
        // Held to the end.
        let disk = File::open(folder.join(DISK)).ok();
        if let Some(disk) = &disk {
            rustix::fs::flock(disk, FlockOperation::NonBlockingLockExclusive)?;
        }
        // Nobody sees a half of it: it goes under another name.
        let scratch = self.scratch().map_err(io::Error::other)?;
        fs::rename(folder, scratch.path().join("layer"))
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn read_record(folder: &Path) -> Option<Record> {
    let mut text = Vec::new();
    File::open(folder.join(RECORD)).ok()?.take(LONGEST_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes a record so that there is an old one or a new one, and never a half.
fn write_record(folder: &Path, record: &Record) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, record)?;
    if record.is_synced() {
        file.as_file().sync_all()?;
    }
    file.persist(folder.join(RECORD))?;
    Ok(())
}

/// Explains what went wrong with a file of the cache.
pub(crate) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let error = Error::io(format!("{what} '{}'", path.display()), error);
    if error.kind() == ErrorKind::HostDiskFull { error.hint(CACHE_IS_FULL) } else { error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use std::time::Instant;

    use super::*;
    use crate::layer::Digest;
    use crate::store::HistoryStep;

    struct Fixture {
        cache: tempfile::TempDir,
        layers: Layers,
    }

    impl Fixture {
        fn new() -> Self {
            let cache = tempfile::tempdir().expect("a folder");
            Self { layers: Layers::open(cache.path()).expect("opened"), cache }
        }

        /// Publishes a layer on another one.
        fn publish(&self, name: &str, parent: Option<&str>) -> Layer {
            let scratch = self.layers.scratch().expect("a folder");
            let disk = scratch.path().join("1.qcow2");
            fs::write(&disk, name.repeat(5000)).expect("written");
            let made = Made {
                parent: parent.map(key),
                below: parent.and_then(|below| Some(self.layers.find(key(below))?.record.identity())),
                steps: vec![HistoryStep::now("it", format!("RUN {name}"), Instant::now())],
                accelerator: "tcg".to_owned(),
                since: 1,
                mounts: Vec::new(),
            };
            self.layers.publish(key(name), made, &disk, false).expect("published")
        }

        fn disk(&self, name: &str) -> PathBuf {
            self.cache.path().join(FOLDER).join(key(name).to_string()).join(DISK)
        }

        fn is_there(&self, name: &str) -> bool {
            self.layers.find(key(name)).is_some()
        }
    }

    fn key(name: &str) -> Key {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn a_chain_is_found_from_below() {
        let fixture = Fixture::new();
        for (name, parent) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
            drop(fixture.publish(name, parent));
        }
        let chain = fixture.layers.chain(key("c")).expect("whole");
        let steps: Vec<_> =
            chain.iter().map(|layer| layer.record.made.steps[0].instruction.as_str()).collect();
        assert_eq!(steps, ["RUN a", "RUN b", "RUN c"]);
        drop(chain);
        fixture.layers.throw_away(key("b")).expect("thrown away");
        assert!(fixture.layers.chain(key("c")).is_none() && fixture.layers.chain(key("a")).is_some());
    }

    #[test]
    fn what_was_written_above_one_layer_does_not_stand_on_another() {
        let fixture = Fixture::new();
        for (name, parent) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
            drop(fixture.publish(name, parent));
        }
        fixture.layers.throw_away(key("a")).expect("thrown away");
        drop(fixture.publish("a", None));
        assert!(fixture.is_there("c"), "by itself it is whole");
        assert!(fixture.layers.chain(key("a")).is_some());
        assert!(fixture.layers.chain(key("b")).is_none() && fixture.layers.chain(key("c")).is_none());
    }

    #[test]
    fn what_was_altered_is_no_layer() {
        let alterations: [fn(&Path); 6] = [
            |disk| File::options().write(true).open(disk).unwrap().write_all_at(b"x", 9).unwrap(),
            |disk| File::options().write(true).open(disk).unwrap().set_len(10).unwrap(),
            |disk| fs::remove_file(disk).unwrap(),
            |disk| fs::write(disk.with_file_name(RECORD), "{").unwrap(),
            |disk| fs::remove_file(disk.with_file_name(RECORD)).unwrap(),
            |disk| {
                let other = disk.with_file_name("other");
                fs::copy(disk, &other).unwrap();
                fs::rename(other, disk).unwrap();
            },
        ];
        for (number, alter) in alterations.iter().enumerate() {
            let fixture = Fixture::new();
            drop(fixture.publish("a", None));
            assert!(fixture.is_there("a"));
            fs::set_permissions(fixture.disk("a"), Permissions::from_mode(0o600)).expect("set");
            alter(&fixture.disk("a"));
            assert!(!fixture.is_there("a"), "{number}");
            // The next build makes it anew.
            drop(fixture.publish("a", None));
            assert!(fixture.is_there("a"), "{number}");
        }
    }

    #[test]
    fn after_the_host_went_down_only_what_was_synced_counts() {
        let fixture = Fixture::new();
        let (a, b) = (fixture.publish("a", None), fixture.publish("b", None));
        fixture.layers.sync(&[a]);
        drop(b);
        let later = Layers { boot: "another".to_owned(), ..fixture.layers.clone() };
        assert!(later.find(key("a")).is_some());
        assert!(later.find(key("b")).is_none());
    }

    #[test]
    fn a_layer_that_is_there_is_kept_and_both_can_be_used() {
        let fixture = Fixture::new();
        let first = fixture.publish("a", None);
        let scratch = fixture.layers.scratch().expect("a folder");
        let disk = scratch.path().join("1.qcow2");
        fs::write(&disk, "another").expect("written");
        let made = first.record.made.clone();
        let second = fixture.layers.publish(key("a"), made.clone(), &disk, false).expect("usable");
        assert_eq!(fs::read(&second.disk).expect("there"), b"another");
        assert_eq!(first.disk, fixture.disk("a"));
        // Unless it is in use, it can be replaced.
        drop(first);
        fs::write(&disk, "a third").expect("written");
        fs::remove_dir_all(disk.with_extension("layer")).expect("removed");
        drop(fixture.layers.publish(key("a"), made, &disk, true).expect("replaced"));
        assert_eq!(fs::read(fixture.disk("a")).expect("there"), b"a third");
    }

    #[test]
    fn what_stands_on_a_layer_that_was_not_published_does_not_stand_on_the_one_that_was() {
        let fixture = Fixture::new();
        let below = fixture.publish("a", None);
        let made = below.record.made.clone();
        // Another build was quicker: its layer is the one that is found.
        let scratch = fixture.layers.scratch().expect("a folder");
        let [disk, upper] = ["1.qcow2", "2.qcow2"].map(|name| scratch.path().join(name));
        fs::write(&disk, "another").expect("written");
        fs::write(&upper, "upper").expect("written");
        let aside = fixture.layers.publish(key("a"), made.clone(), &disk, false).expect("usable");
        let above = Made { parent: Some(key("a")), below: Some(aside.record.identity()), ..made };
        drop(fixture.layers.publish(key("b"), above, &upper, false).expect("published"));
        assert!(fixture.is_there("b") && fixture.layers.chain(key("b")).is_none());
    }

    #[test]
    fn the_longest_unused_go_first_and_what_is_used_stays() {
        let fixture = Fixture::new();
        let used = fixture.publish("used", None);
        for (age, name) in [(3, "old"), (2, "parent"), (1, "child")] {
            drop(fixture.publish(name, (name == "child").then_some("parent")));
            let when = SystemTime::now() - std::time::Duration::from_secs(100 * age);
            let folder = fixture.disk(name);
            File::open(folder.parent().expect("a folder"))
                .and_then(|folder| folder.set_modified(when))
                .expect("set");
        }
        // Whoever uses the child uses what it stands on.
        assert!(fixture.layers.chain(key("child")).is_some());
        let sizes: u64 = fixture.layers.list().iter().map(|layer| layer.size).sum();
        assert!(fixture.layers.prune(sizes) == 0 && fixture.disk("old").exists());
        let freed = fixture.layers.prune(sizes - 1);
        assert!(freed > 0 && !fixture.is_there("old") && fixture.layers.chain(key("child")).is_some());
        fixture.layers.prune(0);
        assert!(!fixture.is_there("parent") && !fixture.is_there("child"));
        assert!(fixture.is_there("used"));
        drop(used);
        fixture.layers.prune(0);
        assert!(!fixture.is_there("used"));
        assert_eq!(fs::read_dir(fixture.cache.path().join(FOLDER)).expect("there").count(), 0);
    }
}
