//! What is on a block device, as `blkid` finds it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use super::failure::Failure;
use super::program;

/// The exit status that says that nothing was found.
const NOTHING: i32 = 2;
/// The exit status that says that contradicting signatures were found.
const AMBIVALENT: i32 = 8;

/// What was found on a device: `TYPE`, `UUID`, `LABEL`, `PART_ENTRY_TYPE`, and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found(BTreeMap<String, String>);

impl Found {
    /// Returns the value of a tag.
    pub(super) fn get(&self, tag: &str) -> Option<&str> {
        self.0.get(tag).map(String::as_str)
    }
}

/// Looks at a device; one with nothing on it gives nothing.
pub(super) fn probe(device: &Path) -> Result<Found, Failure> {
    let arguments = [OsStr::new("-p"), OsStr::new("-o"), OsStr::new("export"), device.as_os_str()];
    let output = program::run("blkid", arguments, b"")?;
    match output.status.code() {
        Some(0) => Ok(parse(&String::from_utf8_lossy(&output.stdout))),
        Some(NOTHING | AMBIVALENT) => Ok(Found::default()),
        _ => Err(Failure::other(format!(
            "cannot look at {}: blkid failed ({})",
            device.display(),
            output.status
        ))
        .with_output(program::said(&output))),
    }
}

/// Reads `KEY=value` lines; the value is escaped as for a shell.
pub(super) fn parse(text: &str) -> Found {
    Found(
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(tag, value)| (tag.to_owned(), unescape(value)))
            .collect(),
    )
}

fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_lines_are_read() {
        let found = parse("DEVNAME=/dev/vda1\nLABEL=my\\ disk\\$\nUUID=A=B\nTYPE=ext4\nnoise\n");
        assert_eq!(found.get("LABEL"), Some("my disk$"));
        assert_eq!(found.get("UUID"), Some("A=B"));
        assert_eq!(found.get("TYPE"), Some("ext4"));
        assert_eq!(found.get("noise"), None);
    }

    #[test]
    fn an_empty_file_holds_nothing() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        empty.as_file().set_len(1 << 20).unwrap();
        assert_eq!(probe(empty.path()).unwrap(), Found::default());
        assert!(
            probe(Path::new("/nonexistent")).is_err()
                || probe(Path::new("/nonexistent")).unwrap() == Found::default()
        );
    }
}
