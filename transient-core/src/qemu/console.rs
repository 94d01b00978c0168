//! The guest's console: the kernel's last words, read as they come.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;

use super::trouble::{Trouble, Watch};

/// How many lines are kept for an error message.
const LINES_KEPT: usize = 20;
/// A line is cut here: the guest may write anything.
const LINE_MAX: usize = 1024;

/// Reads the console to its end.
pub(crate) async fn watch(console: UnixStream, watch: Watch) {
    let mut console = BufReader::new(console);
    let mut line = Vec::new();
    while let Ok(1..) = read_line(&mut console, &mut line).await {
        note(&line, &watch);
    }
    watch.report(Trouble::Ended { console: watch.console() });
}

/// Takes note of a line.
fn note(line: &[u8], watch: &Watch) {
    let text = printable(line);
    tracing::debug!(target: "transient::console", "{text}");
    if let Some(process) = killed_for_memory(&text) {
        watch.report_memory_kill(process);
    }
    let panicked = text.contains("Kernel panic - not syncing");
    watch.add_to_console(text);
    if panicked {
        watch.report(Trouble::Panicked { console: watch.console() });
    }
}

/// Takes note of what comes in pieces, line by line.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    pub(crate) fn add(&mut self, piece: &[u8], watch: &Watch) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(&part[..part.len().min(LINE_MAX.saturating_sub(self.0.len()))]);
            if part.ends_with(b"\n") || self.0.len() >= LINE_MAX {
                note(&std::mem::take(&mut self.0), watch);
            }
        }
    }
}

/// Reads a line, or a part of a very long one.
async fn read_line(console: &mut BufReader<UnixStream>, line: &mut Vec<u8>) -> std::io::Result<usize> {
    use tokio::io::AsyncReadExt;
    line.clear();
    console.take(LINE_MAX as u64).read_until(b'\n', line).await
}

/// The last lines of the console.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    pub(super) fn push(&mut self, line: String) {
        if line.is_empty() {
            return;
        }
        if self.0.len() == LINES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// What the guest writes goes to people's terminals: no control characters.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|character| !character.is_control()).collect()
}

/// The process in a line such as `Out of memory: Killed process 123 (cc1) total-vm:...`.
fn killed_for_memory(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Out of memory: Killed process ")?;
    let (_, rest) = rest.split_once('(')?;
    let (name, _) = rest.split_once(") ")?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_memory_kill_names_its_process() {
        let line = "[   12.1] Out of memory: Killed process 123 (cc1) total-vm:1kB, anon-rss:2kB";
        assert_eq!(killed_for_memory(line).as_deref(), Some("cc1"));
        assert_eq!(killed_for_memory("[ 1.0] Out of memory"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_line_without_end_is_cut() {
        let (mut guest, host) = UnixStream::pair().expect("a pair");
        let shared = Watch::of_builder();
        let reading = tokio::spawn(watch(host, shared.clone()));
        guest.write_all(&vec![b'x'; 1 << 20]).await.expect("written");
        drop(guest);
        reading.await.expect("ends");
        assert!(shared.console().len() <= LINES_KEPT * (LINE_MAX + 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_is_seen_while_the_console_is_open() {
        let (mut guest, host) = UnixStream::pair().expect("a pair");
        let shared = Watch::of_builder();
        let reading = tokio::spawn(watch(host, shared.clone()));
        guest.write_all(b"BUG: \x1b[31mx\n[ 1.0] Kernel panic - not syncing: test\n").await.expect("written");
        let error = shared.trouble().await;
        assert_eq!(error.kind(), ErrorKind::GuestPanic);
        assert_eq!(error.output(), "BUG: [31mx\n[ 1.0] Kernel panic - not syncing: test");
        drop(guest);
        reading.await.expect("ends");
    }
}
