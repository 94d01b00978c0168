//! The second pass: from a logical line to a typed instruction, one function for each.

use std::path::{Component, Path, PathBuf};

use transient_guest::protocol::DiskLabel;

use super::cursor::{Cursor, Word};
use super::instruction::label_name;
use super::line::{is_blank, trailing_backslashes};
use super::size::{Size, SizeUnit};
use super::{Base, Disk, Instruction, Keyword, Line, Problem, Span, Transfer, partition};
use crate::suggest;

/// What the functions below return: all problems of the line, not the first alone.
pub(super) type Parsed<T> = Result<T, Vec<Problem>>;

/// Reads the instruction of a logical line of `text`, without regard to the lines around it.
///
/// # Errors
///
/// Everything that is wrong with the line.
pub fn instruction(text: &str, line: &Line<'_>) -> Result<Instruction, Vec<Problem>> {
    let Some(keyword) = Keyword::from_name(line.keyword.text) else {
        return Err(vec![unknown_keyword(line)]);
    };
    let mut reader = Reader { text, line, keyword, cursor: Cursor::new(line) };
    match keyword {
        Keyword::From => reader.from().map(Instruction::From),
        Keyword::Disk => reader.disk().map(Instruction::Disk),
        Keyword::Partition => partition::parse(reader).map(Instruction::Partition),
        Keyword::Copy => reader.transfer().map(Instruction::Copy),
        Keyword::Add => reader.transfer().map(Instruction::Add),
        Keyword::Run => reader.run().map(Instruction::Run),
        Keyword::Inspect => reader.end().map(|()| Instruction::Inspect).map_err(|problem| vec![problem]),
    }
}

fn unknown_keyword(line: &Line<'_>) -> Problem {
    let word = line.keyword.text;
    let names = Keyword::ALL.map(Keyword::name);
    // A keyword with letters directly after it is two words that lost their blank, or a slip.
    let glued = Keyword::ALL.into_iter().find(|keyword| {
        word.get(..keyword.name().len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword.name()))
    });
    let help = match (suggest::closest(word, names), glued) {
        (None, Some(keyword)) => format!("a blank is missing after `{}`", keyword.name()),
        _ => suggest::help(word, "the instructions are", &names),
    };
    Problem::new(line.keyword.span, format!("unknown instruction `{}`", shortened(word))).help(help)
}

/// A word for a message, which must stay on one line.
pub(super) fn shortened(word: &str) -> String {
    const LONGEST: usize = 40;
    let text: String = word.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    // Quotes need no escape here.
    let text = text.replace("\\'", "'").replace("\\\"", "\"").replace("\\\\", "\\");
    if word.chars().count() > LONGEST { text + "..." } else { text }
}

/// One line, and how far it was read.
pub(super) struct Reader<'l, 't> {
    pub(super) text: &'t str,
    pub(super) line: &'l Line<'t>,
    keyword: Keyword,
    pub(super) cursor: Cursor<'l, 't>,
}

impl<'t> Reader<'_, 't> {
    /// An error at the next word, or at its absence.
    pub(super) fn expected(&mut self, what: &str) -> Problem {
        let usage = self.keyword.usage();
        if self.cursor.at_end() {
            let end = self.line.rest.iter().rev().find(|piece| !piece.text.trim().is_empty());
            let end = end
                .map_or(self.line.keyword.span.end, |piece| piece.span.start + piece.text.trim_end().len());
            let message = format!("{} lacks {what}", self.keyword.name());
            return Problem::new(Span::new(self.line.keyword.span.start, end), message).help(usage);
        }
        Problem::new(self.cursor.next_span(), format!("expected {what}")).help(usage)
    }

    /// Nothing may follow but a comment.
    pub(super) fn end(&mut self) -> Result<(), Problem> {
        if self.cursor.at_end() {
            return Ok(());
        }
        let span = Span::new(self.cursor.next_span().start, self.line.span().end);
        let message = format!("unexpected text after the end of {}", self.keyword.name());
        Err(Problem::new(span, message).help(self.keyword.usage()))
    }

    fn from(&mut self) -> Parsed<Base> {
        let word = match self.cursor.word() {
            Ok(Some(word)) => word,
            Ok(None) => return Err(vec![self.expected("the name of an image")]),
            Err(problem) => return Err(vec![problem]),
        };
        let base = if word.text.eq_ignore_ascii_case("scratch") {
            Ok(Base::Scratch)
        } else {
            word.text.parse().map(Base::Image).map_err(|error: crate::Error| {
                let help = error.hints().first().map_or(self.keyword.usage(), String::as_str);
                Problem::new(word.span, error.to_string()).help(help)
            })
        };
        both(base, self.end()).map(|(base, ())| base)
    }

    fn disk(&mut self) -> Parsed<Disk> {
        let size = self.size(&["GPT", "MBR"]).map_err(|problem| vec![problem])?;
        let label = self.label().map_err(|problem| vec![problem]);
        let label = label.and_then(|label| self.end().map(|()| label).map_err(|problem| vec![problem]));
        let disk = label.map(|label| Disk { size: size.0, label })?;
        if disk.size.count.checked_mul(disk.size.unit.binary()).is_none_or(|bytes| bytes > i64::MAX as u64) {
            return Err(vec![Problem::new(size.1, "this is more than any disk can hold")]);
        }
        Ok(disk)
    }

    fn label(&mut self) -> Result<DiskLabel, Problem> {
        let labels = [DiskLabel::Gpt, DiskLabel::Mbr];
        let Some(word) = self.cursor.letters() else {
            return Err(self.expected("the kind of partition table, GPT or MBR"));
        };
        labels.into_iter().find(|label| label_name(*label).eq_ignore_ascii_case(word.text)).ok_or_else(|| {
            let help = suggest::help(word.text, "the kinds are", &labels.map(label_name));
            Problem::new(word.span, format!("unknown partition table `{}`", shortened(word.text))).help(help)
        })
    }

    /// A number and a unit, with blanks between them or not. `next` are words that may follow without a blank.
    pub(super) fn size(&mut self, next: &[&str]) -> Result<(Size, Span), Problem> {
        let names = SizeUnit::ALL.map(SizeUnit::name);
        let units = format!("the units are: {}", names.join(", "));
        let Some(digits) = self.cursor.digits() else { return Err(self.expected("a size such as `20 GB`")) };
        let Some(mut word) = self.cursor.letters() else {
            let problem = self.expected("a unit after the size");
            return Err(problem.help(units));
        };
        // As in `20GBGPT`.
        let is_glued = |keep: &usize| {
            word.text.get(*keep..).is_some_and(|rest| next.iter().any(|next| next.eq_ignore_ascii_case(rest)))
        };
        if let Some(keep) = [2, 3].into_iter().find(is_glued) {
            word = self.cursor.shorten(word, keep, self.text);
        }
        let unit = SizeUnit::ALL.into_iter().find(|unit| unit.name().eq_ignore_ascii_case(word.text));
        let Some(unit) = unit else {
            let problem = Problem::new(word.span, format!("unknown unit `{}`", shortened(word.text)));
            return Err(problem.help(unit_help(word.text, &names, &units)));
        };
        let Ok(count) = digits.text.parse() else {
            return Err(Problem::new(digits.span, "this number is too large"));
        };
        if count == 0 {
            return Err(Problem::new(digits.span, "a size must be more than 0"));
        }
        Ok((Size::new(count, unit), Span::new(digits.span.start, word.span.end)))
    }

    fn transfer(&mut self) -> Parsed<Transfer> {
        let mut words = Vec::new();
        let mut problems = Vec::new();
        loop {
            match self.cursor.word() {
                Ok(Some(word)) => words.push(word),
                Ok(None) => break,
                Err(problem) => return Err(vec![problem]),
            }
        }
        let Some(destination) = words.pop() else {
            return Err(vec![self.expected("a source and a destination")]);
        };
        if words.is_empty() {
            return Err(vec![self.expected("a destination")]);
        }
        if destination.text.is_empty() {
            problems.push(Problem::new(destination.span, "the destination is empty"));
        }
        problems.extend(words.iter().filter_map(source_problem));
        if !problems.is_empty() {
            return Err(problems);
        }
        let sources = words.into_iter().map(|word| word.text.into()).collect();
        Ok(Transfer { sources, destination: destination.text.into() })
    }

    /// Lines are joined with one blank, as release 0.25 does; within a line nothing is changed.
    fn run(&mut self) -> Parsed<String> {
        let pieces: Vec<&str> =
            self.line.rest.iter().map(|piece| piece.text).filter(|text| !text.is_empty()).collect();
        let joined = pieces.join(" ");
        let mut command = joined.trim_matches(is_blank);
        // A `\` at the very end continues nothing.
        while trailing_backslashes(command) % 2 == 1 {
            command = command[..command.len() - 1].trim_end_matches(is_blank);
        }
        if command.is_empty() {
            return Err(vec![self.expected("a command")]);
        }
        Ok(command.to_owned())
    }
}

fn unit_help(word: &str, names: &[&str], units: &str) -> String {
    // `G` and `M` are what other tools take.
    let meant = match word.to_ascii_uppercase().as_str() {
        "M" => Some("MB"),
        "G" => Some("GB"),
        "T" => Some("TB"),
        _ => suggest::closest(word, names.iter().copied()),
    };
    meant.map_or_else(|| units.to_owned(), |meant| format!("did you mean `{meant}`? {units}"))
}

/// Joins two results, with the problems of both.
pub(super) fn both<A, B>(first: Result<A, Problem>, second: Result<B, Problem>) -> Parsed<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => Err(first.err().into_iter().chain(second.err()).collect()),
    }
}

fn source_problem(word: &Word) -> Option<Problem> {
    let path = Path::new(&word.text);
    let help = "sources are paths within the build directory";
    let message = if word.text.is_empty() {
        "the source is empty"
    } else if path.has_root() {
        "a source must not be an absolute path"
    } else if has_parent(path) {
        "a source must not leave the build directory with `..`"
    } else {
        return None;
    };
    Some(Problem::new(word.span, message).help(help))
}

pub(super) fn has_parent(path: &Path) -> bool {
    path.components().any(|component| component == Component::ParentDir)
}

/// A path without `.`, doubled and trailing slashes.
pub(super) fn normalized(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}
