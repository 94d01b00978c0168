//! Running a program of the host to its end.

mod pulse;
pub(crate) mod qemu_img;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use pulse::Pulse;

use crate::sys::die_with_parent;
use crate::{CancelToken, Error, ErrorKind};

/// How often a cancel is looked for while a program runs silently.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);
/// How much of the end of its standard error is kept.
const STDERR_KEPT: usize = 16 * 1024;

/// A program that the library needs on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// What it is called on the search path.
    pub(crate) name: &'static str,
    /// How to get it, as a hint.
    pub(crate) package: &'static str,
    /// How long it may do nothing at all.
    pub(crate) patience: Duration,
}

impl Program {
    /// Runs the program and waits for its end, on this thread. Standard output is handed out in pieces as it
    /// comes. Returns an error with the program's own words unless it succeeds.
    ///
    /// A cancel kills it, and so does the death of this process.
    pub(crate) fn run<'a>(
        self,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        output: &mut dyn FnMut(&[u8]),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        self.run_on(Stdio::null(), arguments, output, cancel)
    }

    /// As [`Self::run`], with a standard input.
    pub(crate) fn run_on<'a>(
        self,
        input: Stdio,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        output: &mut dyn FnMut(&[u8]),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        cancel.check()?;
        let mut command = Command::new(self.name);
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal goes to the whole group; what becomes of the child is ours to decide.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        die_with_parent(&mut command);
        tracing::info!(target: "transient::run", "{command:?}");
        let mut child = command.spawn().map_err(|error| self.not_run(error))?;
        let (stderr, hung) = self.attend(&mut child, output, cancel);
        let status = child.wait().map_err(|error| self.not_run(error))?;
        cancel.check()?;
        if hung { Err(self.hangs()) } else { self.judge(status, &stderr) }
    }

    /// Passes on what the child prints until it closes its outputs; kills it on a cancel, and when it hangs.
    /// Returns the end of its standard error, and whether it hung.
    fn attend(
        self,
        child: &mut Child,
        output: &mut dyn FnMut(&[u8]),
        cancel: &CancelToken,
    ) -> (Vec<u8>, bool) {
        let (sender, pieces) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            let errors = scope.spawn({
                let alive = sender.clone();
                move || {
                    let kept = stderr.map(keep_end).unwrap_or_default();
                    drop(alive);
                    kept
                }
            });
            scope.spawn(move || stdout.map(|stdout| forward(stdout, &sender)));
            let mut pulse = Pulse::new(child.id());
            let (mut killed, mut hung) = (false, false);
            loop {
                match pieces.recv_timeout(CANCEL_INTERVAL) {
                    Ok(piece) => output(&piece),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                hung = hung || pulse.is_gone_for(self.patience);
                if (cancel.is_cancelled() || hung) && !killed {
                    killed = true;
                    if let Err(error) = child.kill() {
                        tracing::warn!("{} could not be killed: {error}", self.name);
                    }
                }
            }
            (errors.join().unwrap_or_default(), hung)
        })
    }

    fn hangs(self) -> Error {
        let (name, patience) = (self.name, self.patience.as_secs());
        Error::new(ErrorKind::ProgramFailed, format!("'{name}' hangs: it has done nothing for {patience} s"))
            .hint("it was stopped, or waits for a disk that does not answer; it was killed, try again")
    }

    fn judge(self, status: ExitStatus, stderr: &[u8]) -> Result<(), Error> {
        if status.success() {
            return Ok(());
        }
        let words = without_repeats(&String::from_utf8_lossy(stderr));
        let full = ["No space left on device", "Disk quota exceeded"].iter().any(|said| words.contains(said));
        let kind = if full { ErrorKind::HostDiskFull } else { ErrorKind::ProgramFailed };
        let error = Error::new(kind, format!("'{}' failed ({status})", self.name));
        let error = if words.is_empty() { error } else { error.caused_by(words) };
        Err(if full { error.hint("free some space on the disk, or use another one") } else { error })
    }

    fn not_run(self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound {
            let message = format!("Required program '{}' is not installed", self.name);
            return Error::new(ErrorKind::MissingProgram, message).hint(self.package);
        }
        let message = format!("Could not run required program '{}'", self.name);
        Error::new(ErrorKind::ProgramFailed, message).caused_by(error)
    }
}

/// Keeps the first of lines that differ in numbers only: what works on many parts at once fails as often.
fn without_repeats(words: &str) -> String {
    let mut said = HashSet::new();
    let new = |line: &&str| said.insert(line.replace(|character: char| character.is_ascii_digit(), ""));
    words.trim().lines().filter(new).collect::<Vec<_>>().join("\n")
}

/// Sends what comes, until the end.
fn forward(mut stdout: impl Read, sender: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        if sender.send(buffer[..length].to_vec()).is_err() {
            break;
        }
    }
}

/// Reads to the end, keeps the last part.
fn keep_end(mut stderr: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        if kept.len() > STDERR_KEPT {
            kept.drain(..kept.len() - STDERR_KEPT);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn run(name: &'static str, arguments: &[&str], cancel: &CancelToken) -> Result<String, Error> {
        let mut printed = Vec::new();
        let package = "install the package that has it";
        let program = Program { name, package, patience: Duration::from_secs(3) };
        let arguments = arguments.iter().map(OsStr::new);
        program.run(arguments, &mut |piece| printed.extend_from_slice(piece), cancel)?;
        Ok(String::from_utf8(printed).expect("UTF-8"))
    }

    #[test]
    fn hands_out_what_is_printed() {
        assert_eq!(run("sh", &["-c", "echo a; echo b"], &CancelToken::new()).expect("runs"), "a\nb\n");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = run("no-such-program-here", &[], &CancelToken::new()).expect_err("missing");
        assert_eq!(error.kind(), ErrorKind::MissingProgram);
        assert_eq!(error.to_string(), "Required program 'no-such-program-here' is not installed");
        assert_eq!(error.hints(), ["install the package that has it"]);
    }

    #[test]
    fn a_program_that_may_not_be_run_says_why() {
        let error = run("/etc/passwd", &[], &CancelToken::new()).expect_err("not executable");
        assert!(
            error.report().starts_with("Could not run required program '/etc/passwd': Permission denied")
        );
    }

    #[test]
    fn a_failure_has_the_programs_own_words() {
        let error = run("sh", &["-c", "echo so it is >&2; exit 3"], &CancelToken::new()).expect_err("fails");
        assert_eq!(error.kind(), ErrorKind::ProgramFailed);
        assert_eq!(error.report(), "'sh' failed (exit status: 3): so it is");
    }

    #[test]
    fn what_is_said_many_times_is_told_once() {
        let script =
            "echo 'writing at 10: broken' >&2; echo 'writing at 7: broken' >&2; echo done >&2; exit 1";
        let error = run("sh", &["-c", script], &CancelToken::new()).expect_err("fails");
        assert!(error.report().ends_with(": writing at 10: broken\ndone"), "{}", error.report());
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let script = "echo 'write failed: No space left on device' >&2; exit 1";
        let error = run("sh", &["-c", script], &CancelToken::new()).expect_err("fails");
        assert_eq!(error.kind(), ErrorKind::HostDiskFull);
    }

    #[test]
    fn much_error_output_neither_blocks_nor_grows() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo; echo last >&2; exit 1";
        let report = run("sh", &["-c", script], &CancelToken::new()).expect_err("fails").report();
        assert!(report.ends_with("last") && report.len() < 2 * STDERR_KEPT);
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let begin = Instant::now();
        for script in ["kill -STOP $$", "exec sleep 600"] {
            let error = run("sh", &["-c", script], &CancelToken::new()).expect_err("hangs");
            assert_eq!(error.kind(), ErrorKind::ProgramFailed);
            assert_eq!(error.to_string(), "'sh' hangs: it has done nothing for 3 s");
        }
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn one_that_is_slow_is_waited_for() {
        let script = "for i in 1 2 3 4 5; do sleep 1; : < /proc/self/stat; done; echo done";
        assert_eq!(run("sh", &["-c", script], &CancelToken::new()).expect("runs"), "done\n");
    }

    #[test]
    fn a_cancel_kills_it() {
        let cancel = CancelToken::new();
        let begin = Instant::now();
        thread::scope(|scope| {
            let running = scope.spawn(|| run("sleep", &["60"], &cancel));
            thread::sleep(Duration::from_millis(100));
            cancel.cancel();
            let error = running.join().expect("no panic").expect_err("cancelled");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
