//! Printing results on stdout.

use std::io::{self, Write};

use transient_core::Image;
use transient_core::image::format_bytes;
use unicode_width::UnicodeWidthStr;

use crate::failure::Failure;

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value}")?;
    Ok(stdout.flush()?)
}

/// Prints text that ends its own lines.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints a warning on stderr.
pub(crate) fn warning(message: &str) {
    // There is nobody left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "warning: {message}");
}

/// Returns the table of `image ls`: the columns that users' scripts already know.
pub(crate) fn image_table(images: &[Image]) -> String {
    let header = ["NAME", "VIRT SIZE", "REAL SIZE"].map(str::to_owned);
    let rows = images.iter().map(|image| {
        [printable(&image.name), format_bytes(image.virtual_size), format_bytes(image.real_size)]
    });
    let rows: Vec<[String; 3]> = std::iter::once(header).chain(rows).collect();
    table(&rows, &[Align::Left, Align::Right, Align::Right])
}

/// Where the text of a column begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Returns rows of text in columns. The last one is not filled up with blanks.
pub(crate) fn table<R: AsRef<[String]>>(rows: &[R], alignment: &[Align]) -> String {
    let width = |column: usize| rows.iter().map(|row| row.as_ref()[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..alignment.len()).map(width).collect();
    let mut table = String::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.width());
            table.push_str(if column == 0 { " " } else { "  " });
            match alignment[column] {
                Align::Right => table.extend([padding.as_str(), cell]),
                Align::Left if column + 1 == alignment.len() => table.push_str(cell),
                Align::Left => table.extend([cell, padding.as_str()]),
            }
        }
        table.push_str(" \n");
    }
    table
}

/// A name may hold anything but NUL: control characters would spoil the table, or the terminal.
pub(crate) fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|character| match character {
            control if control.is_control() => control.escape_default().collect::<Vec<_>>(),
            other => vec![other],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_others_kept() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(printable("centos/7 été"), "centos/7 été");
    }

    #[test]
    fn an_empty_table_has_its_header() {
        assert_eq!(image_table(&[]), " NAME  VIRT SIZE  REAL SIZE \n");
    }
}
