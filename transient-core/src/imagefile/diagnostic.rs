//! Errors that point into an Imagefile.

use std::path::{Path, PathBuf};

/// A range of bytes in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// Returns the span of `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// What is wrong at a place of a text, before line and column are worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place in the text.
    pub span: Span,
    /// What is wrong, one line.
    pub message: String,
    /// What was expected there, or what to do.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One error of an Imagefile, with all that is needed to show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What is wrong, one line.
    pub message: String,
    /// The file, as it was named to the library.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The place in the text. A byte-order mark is not counted; bytes that are no UTF-8 count as U+FFFD.
    pub span: Span,
    /// The line itself, without its end.
    pub text: String,
    /// What was expected there, or what to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Works out the line and the column of a problem in `text`.
    ///
    /// Lines end in LF, CRLF or CR. A span that is not within the text is moved into it.
    pub fn locate(problem: Problem, file: &Path, text: &str) -> Self {
        let Problem { span, message, help } = problem;
        let start = floor_boundary(text, span.start);
        let end = ceil_boundary(text, span.end.max(start));
        let before = &text[..start];
        let line_start = before.rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
        let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |length| start + length);
        Self {
            message,
            file: file.to_owned(),
            line: 1 + line_ends(before),
            column: 1 + text[line_start..start].chars().count(),
            span: Span { start, end },
            text: text[line_start..line_end].to_owned(),
            help,
        }
    }

    /// Returns the marked range of [`Self::text`], in bytes; it ends with the line at the latest.
    pub(super) fn marked(&self) -> std::ops::Range<usize> {
        let start = self.text.char_indices().nth(self.column - 1).map_or(self.text.len(), |(at, _)| at);
        let length = self.span.end - self.span.start;
        start..ceil_boundary(&self.text, start.saturating_add(length))
    }
}

pub(super) fn floor_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Counts line ends; CRLF is one.
pub(super) fn line_ends(text: &str) -> usize {
    text.bytes()
        .scan(0, |previous, byte| {
            let pair = *previous == b'\r' && byte == b'\n';
            *previous = byte;
            Some(!pair && matches!(byte, b'\n' | b'\r'))
        })
        .filter(|is_end| *is_end)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(text: &str, start: usize, end: usize) -> Diagnostic {
        Diagnostic::locate(Problem::new(Span { start, end }, "m"), Path::new("f"), text)
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let place = locate("a\r\nb\rcc\näöx", 12, 13);
        assert_eq!((place.line, place.column, place.text.as_str()), (4, 3, "äöx"));
        assert_eq!(place.marked(), 4..5);
    }

    #[test]
    fn a_span_over_several_lines_is_marked_on_the_first() {
        let place = locate("one\ntwo", 2, 6);
        assert_eq!((place.line, place.marked()), (1, 2..3));
    }

    #[test]
    fn a_span_outside_the_text_does_no_harm() {
        let place = locate("ä", 1, 90);
        assert_eq!((place.line, place.column, place.marked()), (1, 1, 0..2));
        assert_eq!(locate("", 5, 2).column, 1);
    }
}
