//! The fields of PARTITION, in any order.

use std::path::{Path, PathBuf};

use transient_guest::protocol::Filesystem;

use super::cursor::{Cursor, Word};
use super::parse::{Parsed, Reader, has_parent, normalized, shortened};
use super::size::Size;
use super::{Partition, PartitionFlag, Piece, Problem, Span};
use crate::suggest;

const FIELDS: [&str; 5] = ["SIZE", "FORMAT", "OPTIONS", "MOUNT", "FLAGS"];

/// The fields that were read so far, and where the ones are that other rules point at.
#[derive(Default)]
struct Fields {
    size: Option<Size>,
    format: Option<Filesystem>,
    /// Whether a FORMAT is there, be it a known one or not.
    has_format: bool,
    options: Option<(Vec<String>, Span)>,
    mount: Option<(PathBuf, Span)>,
    flags: Option<(Vec<PartitionFlag>, Span)>,
    problems: Vec<Problem>,
    seen: Vec<String>,
}

pub(super) fn parse(mut reader: Reader<'_, '_>) -> Parsed<Partition> {
    let mut fields = Fields::default();
    let number = number(&mut reader).unwrap_or_else(|problem| {
        fields.problems.push(problem);
        // The fields are read all the same: they may have errors of their own.
        skip_to_field(&mut reader);
        0
    });
    while !reader.cursor.at_end() {
        if let Err(problem) = fields.read(&mut reader) {
            fields.problems.push(problem);
            skip_to_field(&mut reader);
        }
    }
    fields.check();
    if !fields.problems.is_empty() {
        return Err(fields.problems);
    }
    Ok(Partition {
        number,
        size: fields.size,
        format: fields.format,
        options: fields.options.map(|(words, _)| words).unwrap_or_default(),
        mount: fields.mount.map(|(path, _)| path),
        flags: fields.flags.map(|(flags, _)| flags).unwrap_or_default(),
    })
}

fn number(reader: &mut Reader<'_, '_>) -> Result<u32, Problem> {
    let Some(digits) = reader.cursor.digits() else {
        return Err(reader.expected("the number of the partition"));
    };
    digits.text.parse().map_err(|_| Problem::new(digits.span, "this number is too large"))
}

/// Goes to the next word that names a field, so that one error does not cause others.
fn skip_to_field(reader: &mut Reader<'_, '_>) {
    while !reader.cursor.at_end() {
        let span = reader.cursor.next_span();
        if FIELDS.iter().any(|field| field.eq_ignore_ascii_case(&reader.text[span.start..span.end])) {
            return;
        }
        reader.cursor.skip_word();
    }
}

impl Fields {
    fn read(&mut self, reader: &mut Reader<'_, '_>) -> Result<(), Problem> {
        let word = match reader.cursor.letters() {
            Some(word) => word,
            None => return Err(reader.expected(&format!("one of {}", FIELDS.join(", ")))),
        };
        let name = word.text.to_ascii_uppercase();
        if self.seen.contains(&name) {
            self.problems.push(Problem::new(word.span, format!("{name} is given twice")));
        }
        self.seen.push(name.clone());
        match name.as_str() {
            "SIZE" => self.size = Some(reader.size(&FIELDS)?.0),
            "FORMAT" => {
                self.has_format = true;
                self.format = Some(format(reader)?);
            }
            "OPTIONS" => self.options = Some(options(reader)?),
            "MOUNT" => self.mount = Some(mount(reader)?),
            "FLAGS" => self.flags = Some(flags(reader)?),
            _ => return Err(unknown_field(word)),
        }
        Ok(())
    }

    /// Rules between the fields.
    fn check(&mut self) {
        let mut found = Vec::new();
        if let (Some((_, span)), false) = (&self.options, self.has_format) {
            let help = "OPTIONS are for the program that FORMAT runs";
            found.push(Problem::new(*span, "OPTIONS needs a FORMAT").help(help));
        }
        if let Some((_, span)) = &self.mount {
            if self.format == Some(Filesystem::Swap) {
                found.push(Problem::new(*span, "a swap partition cannot be mounted").help("leave out MOUNT"));
            } else if !self.has_format {
                let help = "add FORMAT with a filesystem, or leave out MOUNT";
                found.push(Problem::new(*span, "a partition without FORMAT cannot be mounted").help(help));
            }
        }
        if let Some((flags, span)) = &self.flags
            && flags.contains(&PartitionFlag::Efi)
            && flags.contains(&PartitionFlag::BiosGrub)
        {
            let message = "a partition cannot be both `efi` and `bios_grub`";
            found.push(Problem::new(*span, message).help("make two partitions of it"));
        }
        self.problems.extend(found);
    }
}

fn unknown_field(word: Piece<'_>) -> Problem {
    let help = suggest::help(word.text, "the fields are", &FIELDS);
    Problem::new(word.span, format!("unknown field `{}`", shortened(word.text))).help(help)
}

fn format(reader: &mut Reader<'_, '_>) -> Result<Filesystem, Problem> {
    if reader.cursor.at_end() {
        return Err(reader.expected("a filesystem after FORMAT"));
    }
    let word = reader.cursor.skip_word();
    Filesystem::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(word.text)).ok_or_else(
        || {
            let help =
                suggest::help(word.text, "the filesystems are", &Filesystem::ALL.map(Filesystem::name));
            Problem::new(word.span, format!("unknown filesystem `{}`", shortened(word.text))).help(help)
        },
    )
}

fn options(reader: &mut Reader<'_, '_>) -> Result<(Vec<String>, Span), Problem> {
    if reader.cursor.at_end() {
        return Err(reader.expected("a text in double quotes after OPTIONS"));
    }
    let text = reader.cursor.quoted()?;
    // A `#` means nothing here, as it would in a shell.
    let mut cursor = Cursor::over(text);
    let mut words = Vec::new();
    while let Some(word) = cursor.word()? {
        words.push(word.text);
    }
    Ok((words, text.span))
}

fn mount(reader: &mut Reader<'_, '_>) -> Result<(PathBuf, Span), Problem> {
    let Some(Word { text, span }) = reader.cursor.word()? else {
        return Err(reader.expected("a path after MOUNT"));
    };
    let path = Path::new(&text);
    if !path.is_absolute() {
        return Err(Problem::new(span, "MOUNT needs an absolute path").help("the root of the image is `/`"));
    }
    if has_parent(path) {
        return Err(Problem::new(span, "a path to MOUNT must not have `..`"));
    }
    Ok((normalized(path), span))
}

/// Names with commas between them. One that is given twice counts once.
fn flags(reader: &mut Reader<'_, '_>) -> Result<(Vec<PartitionFlag>, Span), Problem> {
    let mut flags = Vec::new();
    let start = reader.cursor.next_span().start;
    loop {
        let Some(word) = reader.cursor.letters() else { return Err(reader.expected("a flag")) };
        let flag = PartitionFlag::ALL.into_iter().find(|flag| flag.name().eq_ignore_ascii_case(word.text));
        let Some(flag) = flag else {
            let help =
                suggest::help(word.text, "the flags are", &PartitionFlag::ALL.map(PartitionFlag::name));
            return Err(
                Problem::new(word.span, format!("unknown flag `{}`", shortened(word.text))).help(help)
            );
        };
        if !flags.contains(&flag) {
            flags.push(flag);
        }
        if !reader.cursor.eat(',') {
            return Ok((flags, Span::new(start, word.span.end)));
        }
    }
}
