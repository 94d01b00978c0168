//! Headers of tar entries: ustar, and before them pax records of what that has no place for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat, major, minor};
use tar::{EntryType, Header};

use crate::archive::{BLOCK, SparseMap, pax};

/// How long a name in a ustar header may be.
const NAME: usize = 100;
/// The name of extended headers, which nobody sees.
const EXTENDED: &[u8] = b"./PaxHeaders/x";

/// What is to be said of a file.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) path: &'a [u8],
    pub(super) stat: &'a Stat,
    /// Where a link leads.
    pub(super) link: Option<&'a [u8]>,
    /// In bytes, holes included.
    pub(super) size: u64,
    pub(super) holes: Option<&'a SparseMap>,
    pub(super) attributes: Vec<(OsString, Vec<u8>)>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(path: &'a [u8], stat: &'a Stat) -> Self {
        Self { path, stat, link: None, size: 0, holes: None, attributes: Vec::new() }
    }

    /// Returns all that goes before the data.
    pub(super) fn header(&self) -> Vec<u8> {
        let kind = match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            _ => EntryType::Regular,
        };
        self.bytes(kind)
    }

    /// Returns the whole entry of another name of a file.
    pub(super) fn hard_link(&self) -> Vec<u8> {
        self.bytes(EntryType::Link)
    }

    fn bytes(&self, kind: EntryType) -> Vec<u8> {
        let map = self.holes.map(map_before_data).unwrap_or_default();
        let stored = match self.holes {
            Some(holes) => map.len() as u64 + holes.parts.iter().map(|(_, length)| length).sum::<u64>(),
            None => self.size,
        };
        let mut bytes = Vec::new();
        let records = self.records();
        if !records.is_empty() {
            let header = self.ustar(EntryType::XHeader, EXTENDED, records.len() as u64);
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&records);
            bytes.extend_from_slice(padding(records.len() as u64));
        }
        bytes.extend_from_slice(self.ustar(kind, self.path, stored).as_bytes());
        bytes.extend_from_slice(&map);
        bytes
    }

    fn ustar(&self, kind: EntryType, path: &[u8], size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(self.stat.st_mode & 0o7777);
        header.set_uid(self.stat.st_uid.into());
        header.set_gid(self.stat.st_gid.into());
        header.set_mtime(u64::try_from(self.stat.st_mtime).unwrap_or(0));
        header.set_size(size);
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.name, path);
            fill(&mut fields.linkname, self.link.unwrap_or_default());
            fields.set_device_major(major(self.stat.st_rdev));
            fields.set_device_minor(minor(self.stat.st_rdev));
        }
        header.set_cksum();
        header
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |key: &[u8], value: &[u8]| records.extend(pax::record(key, value));
        let (seconds, nanoseconds) = (self.stat.st_mtime, self.stat.st_mtime_nsec as u32);
        if seconds < 0 || nanoseconds > 0 {
            add(b"mtime", pax::time_text(seconds, nanoseconds).as_bytes());
        }
        if self.path.len() > NAME {
            add(b"path", self.path);
        }
        if let Some(link) = self.link.filter(|link| link.len() > NAME) {
            add(b"linkpath", link);
        }
        if let Some(holes) = self.holes {
            add(b"GNU.sparse.major", b"1");
            add(b"GNU.sparse.minor", b"0");
            add(b"GNU.sparse.name", self.path);
            add(b"GNU.sparse.realsize", holes.size.to_string().as_bytes());
        }
        for (name, value) in &self.attributes {
            let (key, value) = pax::attribute(name.as_bytes(), value);
            add(&key, &value);
        }
        records
    }
}

/// Returns what fills the last block of so many bytes.
pub(super) fn padding(length: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    &ZEROS[..((BLOCK - length % BLOCK) % BLOCK) as usize]
}

fn fill(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Returns the map that stands before the data of a sparse file (GNU tar's manual, "Storing Sparse Files", version 1.0).
fn map_before_data(map: &SparseMap) -> Vec<u8> {
    let mut text = format!("{}\n", map.parts.len());
    for (offset, length) in &map.parts {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(padding(bytes.len() as u64));
    bytes
}
