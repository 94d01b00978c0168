//! RUN: a command, and the end of what it wrote.

use std::collections::VecDeque;

use crate::builder::Builder;
use crate::{Error, ErrorKind};

/// How much of a failed command's output its error shows.
const OUTPUT_LINES: usize = 20;
const OUTPUT_BYTES: usize = 8 * 1024;

/// Runs a command in the image.
pub(super) async fn run_command(builder: &Builder, command: &str) -> Result<(), Error> {
    let mut tail = Tail::default();
    let status = builder.run(command, |_, data| tail.add(data)).await?;
    if status == 0 {
        return Ok(());
    }
    let message = format!("the command ended with exit status {status}");
    Err(Error::new(ErrorKind::CommandFailed, message).with_exit_status(status).with_output(tail.text()))
}

/// The end of a command's output.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn add(&mut self, data: &[u8]) {
        self.0.extend(data);
        let over = self.0.len().saturating_sub(OUTPUT_BYTES);
        self.0.drain(..over);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_long_output_is_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), OUTPUT_LINES);
        assert_eq!(text.lines().last(), Some("line 9999"));
    }
}
