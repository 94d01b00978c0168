//! What a person should know of files that were not kept whole: how many, and the first of each kind.

use std::io;
use std::path::{Path, PathBuf};

/// Files that lost something on their way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    lost_attributes: Option<(u64, PathBuf, io::Error)>,
    skipped: Vec<(&'static str, u64, PathBuf)>,
}

impl Notes {
    /// A file could not have all its extended attributes.
    pub(crate) fn lost_attributes(&mut self, path: &Path, error: io::Error) {
        let (count, ..) = self.lost_attributes.get_or_insert_with(|| (0, path.to_owned(), error));
        *count += 1;
    }

    /// A file was passed over for its kind ("socket").
    pub(crate) fn skipped(&mut self, kind: &'static str, path: &Path) {
        match self.skipped.iter_mut().find(|(other, ..)| *other == kind) {
            Some((_, count, _)) => *count += 1,
            None => self.skipped.push((kind, 1, path.to_owned())),
        }
    }

    /// Returns all of it, a sentence each.
    pub(crate) fn told(self) -> Vec<String> {
        let lost = self.lost_attributes.map(|(count, path, error)| {
            let path = path.display();
            format!("{count} files could not keep extended attributes, the first is {path}: {error}")
        });
        let skipped = self.skipped.into_iter().map(|(kind, count, path)| {
            format!("{count} files of the kind {kind} were passed over, the first is {}", path.display())
        });
        lost.into_iter().chain(skipped).collect()
    }
}
