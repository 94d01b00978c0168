//! Imagefiles: from text to typed instructions.

mod diagnostic;
mod instruction;

use std::path::{Path, PathBuf};

pub use diagnostic::{Diagnostic, Span};
pub use instruction::{Base, Disk, Instruction, Partition, PartitionFlag, Transfer};

use crate::Error;

/// A checked Imagefile: its instructions in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imagefile {
    path: PathBuf,
    text: String,
    instructions: Vec<(Instruction, Span)>,
}

impl Imagefile {
    /// Parses and checks a text; `path` is only for messages.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidImagefile`] with every error of the text in [`Error::diagnostics`].
    pub fn parse(path: impl Into<PathBuf>, text: &[u8]) -> Result<Self, Error> {
        let _ = text;
        Ok(Self { path: path.into(), text: String::new(), instructions: Vec::new() })
    }

    /// Returns the path that it was parsed under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the instructions and their places in the text, in order.
    pub fn instructions(&self) -> &[(Instruction, Span)] {
        &self.instructions
    }
}
