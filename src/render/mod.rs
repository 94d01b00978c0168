//! Showing what a build does.

mod json;
mod plain;
mod tty;

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::MultiProgress;
use transient_core::image::format_bytes;
use transient_core::{Difference, Event, Image, Stream};

use crate::cli::Progress;
use crate::{failure, output};

/// Shows events, one at a time.
pub(crate) trait Renderer {
    /// Shows an event.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written: nobody sees the build any more.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Takes down what the last event left on the screen.
    fn finish(&mut self) {}
}

/// Returns the renderer for `--progress`.
pub(crate) fn renderer(progress: Progress) -> Box<dyn Renderer> {
    let terminal =
        || io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    match progress {
        Progress::Json => Box::new(json::Json),
        Progress::Tty => Box::new(tty::Tty::new(true)),
        Progress::Auto if terminal() => Box::new(tty::Tty::new(false)),
        Progress::Auto | Progress::Plain => Box::new(plain::Plain::default()),
    }
}

/// Returns whether colours are welcome: <https://no-color.org>.
pub(crate) fn colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// All bars on the screen, so that log lines can go above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Does something with stdout or stderr while no bar is in the way.
pub(crate) fn beside_bars<T>(work: impl FnOnce() -> T) -> T {
    BARS.suspend(work)
}

/// Shows what looks the same with and without a terminal: step headings, output, warnings.
fn text(event: &Event) -> io::Result<()> {
    match event {
        Event::StepStarted { step, steps, instruction, .. } => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "Step {step}/{steps} : {instruction}")?;
            stdout.flush()
        }
        Event::StepFinished { cached: true, .. } => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "CACHED")?;
            stdout.flush()
        }
        Event::VmStarting { .. } => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "Finished preparation. Starting virtual machine")?;
            stdout.flush()
        }
        Event::SerialOutput { data } | Event::Output { stream: Stream::Stdout, data } => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(data)?;
            stdout.flush()
        }
        // A stderr that is gone ends no build.
        Event::Output { stream: Stream::Stderr, data } => {
            let _ = io::stderr().write_all(data);
            Ok(())
        }
        Event::Warning { message, hint } => {
            let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "warning: {message}{hint}");
            Ok(())
        }
        Event::Note { message } => {
            let _ = writeln!(io::stderr(), "note: {message}");
            Ok(())
        }
        Event::Explanation { reason, differences, more, .. } => {
            let _ = write!(io::stderr(), "{}", explained(reason, differences, *more));
            Ok(())
        }
        Event::StepFailed { error, .. } => {
            let _ = writeln!(io::stderr(), "{}", failure::readable(error));
            Ok(())
        }
        Event::PullFinished { image, fetched, .. } => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{}", pulled(image, *fetched))?;
            stdout.flush()
        }
        Event::ExportFinished { path, real_size, .. } => {
            let path = output::printable(&path.display().to_string());
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{path}: {} on disk", format_bytes(*real_size))?;
            stdout.flush()
        }
        _ => Ok(()),
    }
}

/// Returns the lines about what the cache lacks.
fn explained(reason: &str, differences: &[Difference], more: usize) -> String {
    let colon = if differences.is_empty() { "" } else { ":" };
    let mut text = format!("explain: {reason}{colon}\n");
    for difference in differences {
        text.push_str(&format!("  {}\n", output::printable(&difference.message)));
    }
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

/// Returns the line about an image that was asked for.
fn pulled(image: &Image, fetched: bool) -> String {
    let name = output::printable(&image.name);
    let sizes = format!("{}, {} on disk", format_bytes(image.virtual_size), format_bytes(image.real_size));
    if fetched { format!("{name}: {sizes}") } else { format!("{name}: already there, {sizes}") }
}
