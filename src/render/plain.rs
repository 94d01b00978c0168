//! `--progress plain`: lines only, for logs.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use transient_core::Event;
use transient_core::image::format_bytes;

use super::Renderer;

/// What takes less is not worth a line.
const LONG: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Plain {
    /// The task that moves bytes, and since when.
    task: Option<(String, Instant)>,
}

impl Renderer for Plain {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Progress { task, done, finished, .. } = event {
            self.progress(task, *done, *finished);
        }
        super::text(event)
    }
}

impl Plain {
    fn progress(&mut self, task: &str, done: u64, finished: bool) {
        let since = match &self.task {
            Some((known, since)) if known == task => *since,
            _ => {
                let now = Instant::now();
                self.task = Some((task.to_owned(), now));
                now
            }
        };
        if finished {
            self.task = None;
            if let Some(line) = summary(task, done, since.elapsed()) {
                // A stderr that is gone ends no build.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }
}

fn summary(task: &str, done: u64, elapsed: Duration) -> Option<String> {
    if elapsed < LONG {
        return None;
    }
    let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
    let rate = format_bytes(u64::try_from(rate).unwrap_or(u64::MAX));
    Some(format!("{task}: {} in {:.1} s ({rate}/s)", format_bytes(done), elapsed.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_copies_get_a_line() {
        assert_eq!(summary("Copying a", 5, Duration::from_millis(999)), None);
        assert_eq!(
            summary("Copying a", 3 << 20, Duration::from_millis(1500)).as_deref(),
            Some("Copying a: 3.00 MiB in 1.5 s (2.00 MiB/s)")
        );
    }
}
