//! Locks that end with the process that holds them.
//!
//! A lock is an exclusive `flock`; the file only gives it a name. Release 0.25 locks the same files.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{failure, holder};
use crate::event::Reporter;
use crate::{CancelToken, Error, Event};

/// How often a lock that another has is tried again.
const POLL: Duration = Duration::from_millis(100);
/// Everybody who may write to the folder may take the lock, as far as the umask allows.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// A lock that is held. Dropping it releases it and removes its file.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, waiting while another has it. Says once for whom it waits; `what` is what is locked.
    pub(crate) fn take(
        path: &Path,
        what: &str,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let mut told = false;
        loop {
            cancel.check()?;
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if !told {
                told = true;
                reporter.send_blocking(Event::Note { message: waiting(path, what) });
            }
            thread::sleep(POLL);
        }
    }

    /// Takes the lock unless another has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error| failure("cannot lock", path, error);
        loop {
            let opened = open(path, OFlags::empty());
            if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                && let Some(file) = make(path).map_err(failed)?
            {
                return Ok(Some(Self { file, path: path.to_owned() }));
            }
            let file = opened.or_else(|_| open(path, OFlags::CREATE)).map_err(failed)?;
            if !lock_now(&file).map_err(failed)? {
                return Ok(None);
            }
            // Its last holder may have removed the file between opening and locking it.
            if is_at(&file, path) {
                let lock = Self { file, path: path.to_owned() };
                if holder::is_own(&lock.file) {
                    holder::write(&lock.file).map_err(failed)?;
                }
                return Ok(Some(lock));
            }
            unlock(&file);
        }
    }

    /// Takes the lock of a file that exists and is one of ours, if its holder is dead. An empty one passes for
    /// ours only with `even_empty`: in the backend, release 0.25 may have made it and be about to lock it.
    pub(super) fn inherit(path: &Path, even_empty: bool) -> Option<Self> {
        let file = seize(path, even_empty)?;
        Some(Self { file, path: path.to_owned() })
    }

    /// Whether [`Self::inherit`] would take the lock now; nothing changes.
    pub(super) fn is_abandoned(path: &Path, even_empty: bool) -> bool {
        seize(path, even_empty).inspect(unlock).is_some()
    }

    /// Whether somebody has the lock now.
    pub(super) fn is_held(path: &Path) -> bool {
        let Ok(file) = open(path, OFlags::NONBLOCK) else { return false };
        let free = lock_now(&file).unwrap_or(false);
        if free {
            unlock(&file);
        }
        !free
    }
}

/// Locks the file of a lock of ours whose holder is dead.
fn seize(path: &Path, even_empty: bool) -> Option<File> {
    let file = open(path, OFlags::NONBLOCK).ok()?;
    if !lock_now(&file).ok()? {
        return None;
    }
    if is_at(&file, path) && holder::is_own(&file) && (even_empty || !holder::is_empty(&file)) {
        return Some(file);
    }
    unlock(&file);
    None
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Release 0.25 builds in the file itself, without a lock: what is no longer ours stays.
        if is_at(&self.file, &self.path)
            && holder::is_own(&self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("'{}' could not be removed: {error}", self.path.display());
        }
        unlock(&self.file);
    }
}

fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    Ok(File::from(rustix::fs::open(path, flags, MODE)?))
}

/// Makes the file, locked and with its holder's number from the first moment on: of an empty file that a killed
/// process left, nobody could tell whose it is. `None` when there is a file by now, or the filesystem cannot do it.
fn make(path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(folder, flags, MODE) else { return Ok(None) };
    let file = File::from(file);
    holder::write(&file)?;
    if !lock_now(&file)? {
        return Ok(None);
    }
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW);
    Ok(linked.is_ok().then_some(file))
}

fn lock_now(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Closing would do, but for a child of this process that is between fork and exec.
fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn waiting(path: &Path, what: &str) -> String {
    format!("Waiting for {} on {what}", holder::describe(File::open(path).ok().as_ref()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::ErrorKind;

    /// Another process that holds the lock until it is killed.
    fn hold(path: &Path) -> Child {
        let mut child = Command::new("flock")
            .arg("-F")
            .arg(path)
            .args(["sh", "-c", "echo held; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("flock runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
        assert_eq!(line, "held\n");
        child
    }

    fn end(mut child: Child) {
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    #[test]
    fn the_file_names_the_holder_and_goes_with_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        let lock = Lock::try_take(&path).expect("no error").expect("free");
        assert_eq!(fs::read_to_string(&path).expect("readable"), format!("{}\n", std::process::id()));
        assert!(Lock::try_take(&path).expect("no error").is_none());
        drop(lock);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_is_never_seen_without_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        let file = make(&path).expect("no error").expect("this filesystem can do it");
        assert_eq!(holder::read(&file), Some(std::process::id()));
        assert!(Lock::try_take(&path).expect("no error").is_none(), "locked from the beginning");
        assert!(make(&path).expect("no error").is_none(), "there is one");
    }

    #[test]
    fn threads_exclude_one_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        let (reporter, _events) = Reporter::channel();
        let (inside, cancel) = (AtomicUsize::new(0), CancelToken::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _lock = Lock::take(&path, "it", &reporter, &cancel).expect("taken");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
                    thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn waits_for_another_process_and_says_so_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        fs::write(&path, "99999999\n").expect("written");
        let holder = hold(&path);
        let (reporter, events) = Reporter::channel();
        let begin = format!("Waiting for process {} (", holder.id());
        thread::scope(|scope| {
            let path = &path;
            let waiter = scope.spawn(move || Lock::take(path, "image 'x'", &reporter, &CancelToken::new()));
            thread::sleep(3 * POLL);
            assert!(!waiter.is_finished());
            end(holder);
            waiter.join().expect("no panic").expect("taken");
        });
        let Ok(Event::Note { message }) = events.try_recv() else { panic!("it says nothing") };
        assert!(message.starts_with(&begin), "{message}");
        assert!(message.ends_with("), which is at work on image 'x'"), "{message}");
        assert!(events.try_recv().is_err(), "said once");
    }

    #[test]
    fn a_cancel_ends_the_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        let holder = hold(&path);
        let (reporter, _events) = Reporter::channel();
        let cancel = CancelToken::new();
        let begin = Instant::now();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::take(&path, "it", &reporter, &cancel));
            thread::sleep(POLL);
            cancel.cancel();
            let error = waiter.join().expect("no panic").expect_err("cancelled");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert!(path.exists(), "the holder's file stays");
        end(holder);
    }

    #[test]
    fn only_what_a_dead_holder_of_ours_left_is_inherited() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("ours"), "12\n").expect("written");
        fs::write(at("empty"), "").expect("written");
        fs::write(at("data"), [0; 100]).expect("written");
        assert!(Lock::inherit(&at("ours"), false).is_some());
        assert!(!at("ours").exists(), "removed with the lock");
        assert!(Lock::inherit(&at("empty"), false).is_none());
        assert!(Lock::inherit(&at("empty"), true).is_some());
        assert!(Lock::inherit(&at("data"), false).is_none());
        assert!(Lock::inherit(&at("missing"), false).is_none());
        fs::write(at("held"), "12\n").expect("written");
        let holder = hold(&at("held"));
        assert!(Lock::inherit(&at("held"), false).is_none());
        end(holder);
    }

    #[test]
    fn a_file_with_data_is_locked_but_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        fs::write(&path, [7; 100]).expect("written");
        drop(Lock::try_take(&path).expect("no error").expect("free"));
        assert_eq!(fs::read(&path).expect("still there"), [7; 100]);
    }
}
