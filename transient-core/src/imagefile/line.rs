//! The first pass: from text to logical lines, whose instructions need not be known.

use super::cursor::is_apostrophe;
use super::{Keyword, Problem, Span};

/// A part of the text, with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// The text itself.
    pub text: &'t str,
    /// Where it is.
    pub span: Span,
}

impl<'t> Piece<'t> {
    pub(super) fn new(text: &'t str, start: usize) -> Self {
        Self { text, span: Span { start, end: start + text.len() } }
    }
}

/// One instruction as it is written, continued lines taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'t> {
    /// The first word.
    pub keyword: Piece<'t>,
    /// What follows, one piece for each line of the text. Neither the `\` of a continued line nor comments
    /// are in it.
    pub rest: Vec<Piece<'t>>,
}

impl Line<'_> {
    /// Returns the place of the whole instruction, from its keyword to the end of its last piece.
    pub fn span(&self) -> Span {
        let end = self.rest.last().map_or(self.keyword.span.end, |piece| piece.span.end);
        Span { start: self.keyword.span.start, end: end.max(self.keyword.span.end) }
    }
}

/// Splits a text into logical lines. Keywords are not checked.
///
/// A `\` at the end of a line, blanks after it or not, continues it; an empty line ends it all the same. Lines
/// whose first character is `#` are left out, also between continued lines.
///
/// ```
/// let lines = transient_core::imagefile::lines("FROM x\nRUN a \\\n  # why\n  b\n");
/// assert_eq!(lines.len(), 2);
/// assert_eq!(lines[1].keyword.text, "RUN");
/// assert_eq!(lines[1].rest[1].text, "  b");
/// ```
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let mut splitter = Splitter::default();
    let mut start = 0;
    while start < text.len() {
        let end = text[start..].find(['\n', '\r']).map_or(text.len(), |length| start + length);
        splitter.push(Piece::new(&text[start..end], start));
        start = end + if text[end..].starts_with("\r\n") { 2 } else { 1 };
    }
    splitter.close();
    splitter.lines
}

/// Reports characters that no instruction can hold.
pub(super) fn check_characters(text: &str) -> Vec<Problem> {
    let message = "a NUL character cannot be part of an Imagefile";
    text.match_indices('\0').map(|(at, _)| Problem::new(Span::new(at, at + 1), message)).collect()
}

#[derive(Default)]
struct Splitter<'t> {
    lines: Vec<Line<'t>>,
    /// The line that the next one continues.
    open: Option<Line<'t>>,
    /// Whether a comment came after the last line of the open one.
    after_comment: bool,
}

impl<'t> Splitter<'t> {
    fn push(&mut self, physical: Piece<'t>) {
        let trimmed = physical.text.trim_start_matches(is_blank);
        if trimmed.starts_with('#') {
            self.after_comment = true;
            return;
        }
        // Release 0.25 ends an instruction at a comment. What was an instruction of its own there stays one.
        if trimmed.is_empty() || (self.after_comment && starts_with_keyword(trimmed)) {
            self.close();
        }
        if trimmed.is_empty() {
            return;
        }
        self.after_comment = false;
        match self.open.take() {
            Some(line) => self.extend(line, physical),
            None => self.begin(Piece::new(trimmed, physical.span.end - trimmed.len())),
        }
    }

    fn begin(&mut self, piece: Piece<'t>) {
        let (first, after) = piece.text.split_at(keyword_length(piece.text));
        let keyword = Piece::new(first, piece.span.start);
        // A `\` alone on a line before the instruction.
        if first.trim_end_matches(is_continuation_blank) == "\\"
            && after.trim_matches(is_continuation_blank).is_empty()
        {
            return;
        }
        let line = Line { keyword, rest: Vec::new() };
        self.extend(line, Piece::new(after, keyword.span.end));
    }

    fn extend(&mut self, mut line: Line<'t>, piece: Piece<'t>) {
        let known = Keyword::from_name(line.keyword.text);
        let comment = known.filter(|keyword| keyword.has_comments()).and_then(|_| comment_start(piece.text));
        let (body, continued) = match comment {
            // A comment reaches to the end of its line, a `\` there is part of it.
            Some(at) => (&piece.text[..at], false),
            None => split_continuation(piece.text),
        };
        line.rest.push(Piece::new(body, piece.span.start));
        self.open = Some(line);
        if !continued {
            self.close();
        }
    }

    fn close(&mut self) {
        self.lines.extend(self.open.take());
        self.after_comment = false;
    }
}

pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn is_continuation_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\x0c')
}

/// A known keyword may be followed directly by anything but a letter (`RUN/bin/true`).
fn keyword_length(text: &str) -> usize {
    let letters = text.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_').count();
    if Keyword::from_name(&text[..letters]).is_some() {
        return letters;
    }
    let blank = text.find(is_blank).unwrap_or(text.len());
    let (word, continued) = split_continuation(&text[..blank]);
    // `COPY\` at the end of a line is the keyword, and the `\` continues.
    if continued && !word.is_empty() && text[blank..].trim_matches(is_continuation_blank).is_empty() {
        word.len()
    } else {
        blank
    }
}

fn starts_with_keyword(text: &str) -> bool {
    Keyword::from_name(&text[..keyword_length(text)]).is_some()
}

/// Splits off a continuing `\`. An escaped one does not continue.
fn split_continuation(text: &str) -> (&str, bool) {
    let trimmed = text.trim_end_matches(is_continuation_blank);
    if trailing_backslashes(trimmed) % 2 == 1 { (&trimmed[..trimmed.len() - 1], true) } else { (text, false) }
}

pub(super) fn trailing_backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count()
}

/// Finds the `#` that begins a comment: after a blank, and in no quotes.
fn comment_start(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut previous = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, _) if is_apostrophe(previous, character) => {}
            (None, '"' | '\'') if text[at + 1..].contains(character) => quote = Some(character),
            (None, '#') if previous.is_none_or(is_blank) => return Some(at),
            (None, _) => {}
        }
        previous = Some(character);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(String, Vec<String>)> {
        lines(text)
            .iter()
            .map(|line| {
                for piece in line.rest.iter().chain([&line.keyword]) {
                    assert_eq!(&text[piece.span.start..piece.span.end], piece.text);
                }
                (line.keyword.text.to_owned(), line.rest.iter().map(|piece| piece.text.to_owned()).collect())
            })
            .collect()
    }

    fn owned(lines: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let own = |pieces: &[&str]| pieces.iter().map(|piece| (*piece).to_owned()).collect();
        lines.iter().map(|(keyword, pieces)| ((*keyword).to_owned(), own(pieces))).collect()
    }

    #[test]
    fn line_ends_of_all_systems() {
        let expected = owned(&[("FROM", &[" x"]), ("RUN", &[" a"])]);
        for text in ["FROM x\nRUN a", "FROM x\r\nRUN a\r\n", "FROM x\rRUN a\r", "\n\n FROM x\n \n\tRUN a\n\n"]
        {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_backslash_continues() {
        assert_eq!(split("RUN a \\\n b\n"), owned(&[("RUN", &[" a ", " b"])]));
        assert_eq!(split("RUN a\\ \t\r\nb"), owned(&[("RUN", &[" a", "b"])]));
        assert_eq!(split("RUN\\\n b"), owned(&[("RUN", &["", " b"])]));
        assert_eq!(split("\\\nRUN b"), owned(&[("RUN", &[" b"])]));
        assert_eq!(split("RUN a \\"), owned(&[("RUN", &[" a "])]));
        assert_eq!(split("FOO\\\nb"), owned(&[("FOO", &["", "b"])]));
    }

    #[test]
    fn an_escaped_backslash_does_not_continue() {
        assert_eq!(split("RUN a \\\\\nRUN b"), owned(&[("RUN", &[" a \\\\"]), ("RUN", &[" b"])]));
    }

    #[test]
    fn an_empty_line_ends_a_continued_one() {
        assert_eq!(split("RUN a \\\n\nRUN b"), owned(&[("RUN", &[" a "]), ("RUN", &[" b"])]));
    }

    #[test]
    fn comments_between_continued_lines() {
        assert_eq!(split("RUN a \\\n # c \\\n# d\n b"), owned(&[("RUN", &[" a ", " b"])]));
        assert_eq!(split("RUN a \\\n# c\nRUN b"), owned(&[("RUN", &[" a "]), ("RUN", &[" b"])]));
        assert_eq!(split("RUN a \\\nRUN b"), owned(&[("RUN", &[" a ", "RUN b"])]));
    }

    #[test]
    fn comments_at_the_end_of_a_line() {
        assert_eq!(split("DISK 1 # x \\\nINSPECT"), owned(&[("DISK", &[" 1 "]), ("INSPECT", &[""])]));
        assert_eq!(split("FROM a#b"), owned(&[("FROM", &[" a#b"])]));
        assert_eq!(
            split("PARTITION 1 OPTIONS \"a # b\""),
            owned(&[("PARTITION", &[" 1 OPTIONS \"a # b\""])])
        );
        assert_eq!(split("RUN a # b"), owned(&[("RUN", &[" a # b"])]));
        assert_eq!(split("COPY a #b"), owned(&[("COPY", &[" a #b"])]));
    }

    #[test]
    fn unknown_keywords_are_taken_too() {
        assert_eq!(split("ENV a=b\nrun/bin/x"), owned(&[("ENV", &[" a=b"]), ("run", &["/bin/x"])]));
        assert_eq!(split("RUNNER x"), owned(&[("RUNNER", &[" x"])]));
    }
}
