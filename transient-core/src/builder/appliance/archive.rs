//! The initramfs: a file tree in memory, written as a newc cpio archive.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, ModeFileType, trailer};

/// A file tree that always gives the same bytes: sorted, without times, owned by root.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// Keys have no leading slash, as the kernel wants them.
    entries: BTreeMap<PathBuf, Node>,
}

#[derive(Debug)]
enum Node {
    Directory { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: PathBuf },
    Character { mode: u32, major: u32, minor: u32 },
}

impl Archive {
    pub(super) fn directory(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.insert(path.as_ref(), Node::Directory { mode });
    }

    pub(super) fn file(&mut self, path: impl AsRef<Path>, mode: u32, bytes: Vec<u8>) {
        self.insert(path.as_ref(), Node::File { mode, bytes });
    }

    pub(super) fn link(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) {
        self.insert(path.as_ref(), Node::Link { target: target.into() });
    }

    pub(super) fn character_device(&mut self, path: impl AsRef<Path>, mode: u32, major: u32, minor: u32) {
        self.insert(path.as_ref(), Node::Character { mode, major, minor });
    }

    fn insert(&mut self, path: &Path, node: Node) {
        let path = path.strip_prefix("/").unwrap_or(path);
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            self.entries.entry(parent.to_owned()).or_insert(Node::Directory { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), node);
    }

    /// Returns the archive's bytes.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        for (inode, (path, node)) in (1u32..).zip(&self.entries) {
            out = node.write(path, inode, out)?;
        }
        trailer(out)
    }
}

impl Node {
    fn write(&self, path: &Path, inode: u32, out: Vec<u8>) -> io::Result<Vec<u8>> {
        let name = path.to_str().ok_or_else(|| io::Error::other("a file name is not UTF-8"))?;
        let header = Builder::new(name).ino(inode).uid(0).gid(0).mtime(0);
        let (header, bytes): (_, &[u8]) = match self {
            Self::Directory { mode } => {
                (header.nlink(2).mode(*mode).set_mode_file_type(ModeFileType::Directory), &[])
            }
            Self::File { mode, bytes } => {
                (header.nlink(1).mode(*mode).set_mode_file_type(ModeFileType::Regular), bytes)
            }
            Self::Link { target } => (
                header.nlink(1).mode(0o777).set_mode_file_type(ModeFileType::Symlink),
                target.as_os_str().as_encoded_bytes(),
            ),
            Self::Character { mode, major, minor } => (
                header
                    .nlink(1)
                    .mode(*mode)
                    .set_mode_file_type(ModeFileType::Char)
                    .rdev_major(*major)
                    .rdev_minor(*minor),
                &[],
            ),
        };
        let size = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a file is over 4 GiB"))?;
        let mut writer = header.write(out, size);
        writer.write_all(bytes)?;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(reversed: bool) -> Archive {
        let mut archive = Archive::default();
        let mut steps: Vec<fn(&mut Archive)> = vec![
            |archive| archive.directory("/tmp", 0o1777),
            |archive| archive.file("/init", 0o755, b"program".to_vec()),
            |archive| archive.file("/usr/sbin/mke2fs", 0o755, b"x".to_vec()),
            |archive| archive.link("/sbin", "usr/sbin"),
            |archive| archive.character_device("/dev/console", 0o600, 5, 1),
        ];
        if reversed {
            steps.reverse();
        }
        for step in steps {
            step(&mut archive);
        }
        archive
    }

    #[test]
    fn the_order_of_making_does_not_matter() {
        assert_eq!(example(false).to_bytes().unwrap(), example(true).to_bytes().unwrap());
    }

    #[test]
    fn a_reader_finds_what_was_written() {
        let bytes = example(false).to_bytes().unwrap();
        let mut rest: &[u8] = &bytes;
        let mut seen = Vec::new();
        loop {
            let reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            let device = (entry.rdev_major(), entry.rdev_minor());
            let fields = (entry.name().to_owned(), entry.mode(), device);
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            seen.push((fields.0, fields.1, fields.2, String::from_utf8(content).unwrap()));
        }
        let expected = [
            ("dev", 0o040755, (0, 0), ""),
            ("dev/console", 0o020600, (5, 1), ""),
            ("init", 0o100755, (0, 0), "program"),
            ("sbin", 0o120777, (0, 0), "usr/sbin"),
            ("tmp", 0o041777, (0, 0), ""),
            ("usr", 0o040755, (0, 0), ""),
            ("usr/sbin", 0o040755, (0, 0), ""),
            ("usr/sbin/mke2fs", 0o100755, (0, 0), "x"),
        ];
        let expected: Vec<_> = expected
            .map(|(name, mode, device, text)| (name.to_owned(), mode, device, text.to_owned()))
            .into();
        assert_eq!(seen, expected);
    }
}
