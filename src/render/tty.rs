//! `--progress tty`: bars for what moves bytes, for people at a terminal.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use transient_core::Event;

use super::{BARS, Renderer};

/// How often a bar may be drawn, per second.
const FRAMES: u8 = 10;

const MOVING: &str =
    "{percent:>3}% |{wide_bar}| {binary_bytes_per_sec:>12} | {binary_bytes:>10} | ETA:  {eta_precise}";
const DONE: &str =
    "{percent:>3}% |{wide_bar}| {binary_bytes_per_sec:>12} | {binary_bytes:>10} | Time: {elapsed_precise}";
/// Where the size is not known.
const OPEN: &str = "{msg} | {binary_bytes_per_sec:>12} | {binary_bytes:>10} | Time: {elapsed_precise}";

pub(super) struct Tty {
    bar: Option<(String, ProgressBar)>,
}

impl Tty {
    /// With `forced`, bars are drawn also when stderr is no terminal that is known.
    pub(super) fn new(forced: bool) -> Self {
        let target =
            if forced { ProgressDrawTarget::stderr_with_hz(FRAMES) } else { ProgressDrawTarget::stderr() };
        BARS.set_draw_target(target);
        Self { bar: None }
    }

    fn progress(&mut self, task: &str, done: u64, total: Option<u64>, finished: bool) {
        let same = self.bar.as_ref().is_some_and(|(known, _)| known == task);
        if !same {
            self.finish();
        }
        let (_, bar) = self.bar.get_or_insert_with(|| (task.to_owned(), new_bar(task, total)));
        bar.set_position(done);
        if finished {
            if total.is_some() {
                bar.set_style(style(DONE));
            }
            bar.finish();
            self.bar = None;
        }
    }
}

impl Renderer for Tty {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Progress { task, done, total, finished } => {
                self.progress(task, *done, *total, *finished);
                Ok(())
            }
            _ => super::beside_bars(|| super::text(event)),
        }
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.abandon();
        }
    }
}

fn new_bar(task: &str, total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total).with_style(style(MOVING)),
        None => ProgressBar::no_length().with_style(style(OPEN)),
    };
    BARS.add(bar.with_message(task.to_owned()).with_finish(ProgressFinish::Abandon))
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours, and a test parses them.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("# ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [MOVING, DONE, OPEN] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
