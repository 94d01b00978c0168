//! Imagefiles: from text to typed instructions.
//!
//! Most callers want [`Imagefile::load`] or [`Imagefile::parse`]. The passes that these consist of can also be
//! used alone: [`lines`] takes a text apart without knowing the instructions, [`instruction`] reads one of
//! them, [`check`] applies the rules that concern the whole file. [`render`] shows what they found.

mod cursor;
mod diagnostic;
mod instruction;
mod keyword;
pub(crate) mod layout;
mod line;
mod parse;
mod partition;
mod render;
mod rules;
mod size;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use diagnostic::{Diagnostic, Problem, Span};
pub use instruction::{Base, Disk, Instruction, Partition, PartitionFlag, Transfer};
pub use keyword::Keyword;
pub use line::{Line, Piece, lines};
pub use parse::instruction;
pub use render::render;
pub use rules::{Statement, check};
pub use size::{Size, SizeUnit};
pub use transient_guest::protocol::{DiskLabel, Filesystem};

use crate::{Error, ErrorKind, Location, suggest};

/// Larger files are not read: whatever they are, they are no Imagefiles.
const LARGEST: u64 = 16 << 20;
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A checked Imagefile: its instructions in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imagefile {
    path: PathBuf,
    text: String,
    instructions: Vec<(Instruction, Span)>,
}

impl Imagefile {
    /// Reads, parses and checks a file.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`]; [`ErrorKind::InvalidArgument`] when there is no such file, [`ErrorKind::Io`] when it
    /// cannot be read.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let bytes = read(&path).map_err(|error| unreadable(&path, error))?;
        if bytes.len() as u64 > LARGEST {
            let message = format!("'{}' is too large for an Imagefile", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, message).hint("the most is 16 MiB"));
        }
        Self::parse(path, &bytes)
    }

    /// Parses and checks a text; `path` is only for messages.
    ///
    /// ```
    /// use transient_core::imagefile::{Imagefile, Instruction};
    ///
    /// let imagefile = Imagefile::parse("Imagefile", b"from alpine\nRUN echo \\\n  hello\n")?;
    /// let (run, span) = &imagefile.instructions()[1];
    /// assert_eq!(run, &Instruction::Run("echo    hello".to_owned()));
    /// assert_eq!(imagefile.line(*span), 2);
    /// # Ok::<(), transient_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidImagefile`] with every error of the text in [`Error::diagnostics`].
    pub fn parse(path: impl Into<PathBuf>, text: &[u8]) -> Result<Self, Error> {
        let path = path.into();
        let (text, mut problems) = decode(text);
        problems.extend(line::check_characters(&text));
        let statements = statements(&text, &mut problems);
        // Where nothing is known, what is missing need not be told.
        if !statements.is_empty() || problems.is_empty() {
            problems.extend(check(&statements));
        }
        if !problems.is_empty() {
            return Err(invalid(&path, &text, problems));
        }
        let instructions = statements
            .into_iter()
            .filter_map(|statement| Some((statement.instruction?, statement.span)))
            .collect();
        Ok(Self { path, text, instructions })
    }

    /// Returns the path that it was parsed under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text, without a byte-order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the instructions and their places in the text, in order.
    pub fn instructions(&self) -> &[(Instruction, Span)] {
        &self.instructions
    }

    /// Returns the line of a place, counted from 1.
    pub fn line(&self, span: Span) -> usize {
        1 + diagnostic::line_ends(&self.text[..diagnostic::floor_boundary(&self.text, span.start)])
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = "`--file` (or the option `file`) names another one";
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no Imagefile at '{}'", path.display());
        return Error::new(ErrorKind::InvalidArgument, message).hint(hint);
    }
    Error::io(format!("the Imagefile '{}' cannot be read", path.display()), error).hint(hint)
}

/// Returns the text without its byte-order mark, and a problem for each place that is no UTF-8.
fn decode(bytes: &[u8]) -> (String, Vec<Problem>) {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    let mut problems = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            let problem = Problem::new(Span::new(start, text.len()), "these bytes are no UTF-8");
            problems.push(problem.help("save the file as UTF-8"));
        }
    }
    (text, problems)
}

/// Reads every instruction; what is wrong with one does not hide what is wrong with the next.
fn statements(text: &str, problems: &mut Vec<Problem>) -> Vec<Statement> {
    let mut statements = Vec::new();
    for line in lines(text) {
        let parsed = instruction(text, &line).map_err(|found| problems.extend(found)).ok();
        // The rules take a misspelt keyword for the one that was meant, lest they call that one missing.
        let name = line.keyword.text;
        let meant = Keyword::from_name(name)
            .or_else(|| suggest::closest(name, Keyword::ALL.map(Keyword::name)).and_then(Keyword::from_name));
        if let Some(keyword) = meant {
            statements.push(Statement { keyword, span: line.span(), instruction: parsed });
        }
    }
    statements
}

fn invalid(path: &Path, text: &str, mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
    let diagnostics: Vec<Diagnostic> =
        problems.into_iter().map(|problem| Diagnostic::locate(problem, path, text)).collect();
    let count = match diagnostics.len() {
        1 => "an error".to_owned(),
        count => format!("{count} errors"),
    };
    let mut error = Error::new(ErrorKind::InvalidImagefile, format!("'{}' has {count}", path.display()));
    if let Some(first) = diagnostics.first() {
        error = error.at(Location { file: path.to_owned(), line: first.line, column: first.column });
    }
    error.with_diagnostics(diagnostics)
}
