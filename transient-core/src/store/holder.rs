//! Who holds a lock, as its file says.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{major, minor};

/// More than a process id and a newline is not ours.
const OWN_LENGTH: usize = 24;

/// Writes that this process is the holder.
pub(super) fn write(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

pub(super) fn read(file: &File) -> Option<u32> {
    let mut buffer = [0; OWN_LENGTH];
    let length = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.strip_suffix('\n')?.parse().ok()
}

pub(super) fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Whether the file holds nothing but the number of a process, or nothing at all.
pub(super) fn is_own(file: &File) -> bool {
    is_empty(file) || read(file).is_some()
}

/// Says who holds the lock of this file, as the subject of a wait.
pub(super) fn describe(file: Option<&File>) -> String {
    match file.and_then(|file| locked_by(file).or_else(|| read(file))) {
        Some(pid) if pid == std::process::id() => "other work of this process".to_owned(),
        Some(pid) => match program(pid) {
            Some(program) => format!("process {pid} ({program}), which is at work"),
            None => format!("process {pid}, which is at work"),
        },
        None => "another process, which is at work".to_owned(),
    }
}

/// Returns which process has the lock as the kernel tells it: release 0.25 writes no number. Some filesystems have
/// other numbers there than files show, and a process of another container has none.
fn locked_by(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let (major, minor) = (major(metadata.dev()), minor(metadata.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| match line.split_whitespace().skip(1).collect::<Vec<_>>()[..] {
        ["FLOCK", _, _, pid, file, ..] if file == wanted => pid.parse().ok().filter(|pid| *pid > 0),
        _ => None,
    })
}

/// Returns what a process runs. Its arguments are its own affair: there may be secrets in them.
fn program(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().chars().filter(|character| !character.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_holder_is_named_with_what_it_runs() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(describe(Some(&file)), "another process, which is at work");
        write(&file).expect("written");
        assert_eq!(describe(Some(&file)), "other work of this process");
        let mut other = std::process::Command::new("sh")
            .args(["-c", "echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs");
        // Before it runs, a new process has the name of its parent.
        other.stdout.take().expect("piped").read_exact(&mut [0]).expect("it runs");
        file.write_all_at(format!("{}\n", other.id()).as_bytes(), 0).expect("written");
        file.set_len(other.id().to_string().len() as u64 + 1).expect("cut");
        assert_eq!(describe(Some(&file)), format!("process {} (sh), which is at work", other.id()));
        other.kill().expect("killed");
        other.wait().expect("reaped");
        assert_eq!(describe(Some(&file)), format!("process {}, which is at work", other.id()));
    }
}
