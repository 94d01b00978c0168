//! Members of a tar archive: POSIX ustar and pax, GNU, and what came before.

mod acl;
pub(crate) mod pax;
mod sparse;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead};

use tar::{EntryType, GnuExtSparseHeader, Header};

pub use sparse::SparseMap;

use pax::Record;
pub(crate) use sparse::MOST_PARTS;
use sparse::{PaxSparse, number};

/// What an archive is made of, in bytes.
pub(crate) const BLOCK: u64 = 512;
/// The most bytes of extended headers and long names that one member has, and of those that all have.
const MOST_EXTENDED: u64 = 16 << 20;

/// What is wrong with an archive.
#[derive(Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The result of reading an archive.
pub type Result<T> = std::result::Result<T, Broken>;

/// Says what is wrong with an archive.
fn broken(what: &str) -> Broken {
    Broken(what.to_owned())
}

/// One file of an archive; its data is to be read from the [`Archive`] before the next is asked for.
#[derive(Debug)]
pub struct Member {
    /// What it is.
    pub kind: Kind,
    /// As it stands in the archive.
    pub path: Vec<u8>,
    /// The permissions.
    pub mode: u32,
    /// The number of the user.
    pub owner: u32,
    /// The number of the group.
    pub group: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Member {
    /// Returns how many bytes are kept of it, about.
    #[cfg(feature = "files")]
    pub(crate) fn weight(&self) -> usize {
        let target = match &self.kind {
            Kind::Link(target) | Kind::HardLink(target) => target.len(),
            _ => 0,
        };
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.path.len() + target + attributes.sum::<usize>()
    }
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file; the parts of a sparse one, else all of it, are the data.
    File(Option<SparseMap>),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// Another name of the file of this name in the archive.
    HardLink(Vec<u8>),
    /// A character device of these numbers.
    CharacterDevice(u32, u32),
    /// A block device of these numbers.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Reads the members of an archive one after the other.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    /// How much of the member's data has not been read, in bytes.
    left: u64,
    padding: u64,
    global: Vec<Record>,
    /// The size of what is said of all members, in bytes.
    global_size: u64,
}

/// What headers before a member's own say about it.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<Record>,
    /// The size of all of them, in bytes.
    size: u64,
}

impl Extended {
    fn get(&self, key: &str) -> Option<&[u8]> {
        // Of several records the last counts.
        let found = self.records.iter().rev().find(|(name, _)| name == key.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        self.get(key).map(number).transpose()
    }
}

impl<R: BufRead> Archive<R> {
    /// Reads an archive from its beginning.
    pub fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, global: Vec::new(), global_size: 0 }
    }

    /// Returns how much of the member's data has not been read, in bytes.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns the next piece of the member's data, empty at its end.
    pub fn piece(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let piece = self.source.fill_buf()?;
        if piece.is_empty() {
            return Err(broken("the archive is cut off within a file"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&piece[..piece.len().min(most)])
    }

    /// Says that so much of a [`piece`](Self::piece) has been used.
    pub fn used(&mut self, count: usize) {
        self.source.consume(count);
        self.left -= count as u64;
    }

    /// Returns the next member; `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let mut extended = Extended::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            self.expect(size);
            match header.as_bytes()[156] {
                b'L' => extended.path = Some(self.long_name(&mut extended.size)?),
                b'K' => extended.link = Some(self.long_name(&mut extended.size)?),
                b'x' | b'X' => {
                    let records = pax::parse(&self.extended_data(&mut extended.size)?)?;
                    extended.records.extend(records);
                }
                b'g' => {
                    let mut size = self.global_size;
                    let records = pax::parse(&self.extended_data(&mut size)?)?;
                    self.global.extend(records);
                    self.global_size = size;
                }
                // A volume label, and names of an old GNU format: nothing to unpack.
                b'V' | b'N' => {}
                b'M' => return Err(broken("it is the continuation of an archive in several volumes")),
                _ => {
                    // What is said of all members comes first, so that what is said of this one counts.
                    extended.records.splice(0..0, self.global.iter().cloned());
                    return self.member(&header, &extended).map(Some);
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn skip_rest(&mut self) -> Result<()> {
        self.left = self.left.checked_add(self.padding).ok_or_else(|| broken("a file is too large"))?;
        self.padding = 0;
        while self.left > 0 {
            let count = self.piece()?.len();
            self.used(count);
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = read_block(&mut self.source)?.filter(|block| block.iter().any(|&byte| byte != 0))
        else {
            return Ok(None);
        };
        let header = Header::from_byte_slice(&block).clone();
        let sum = |value: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate();
            bytes
                .map(|(at, &byte)| if (148..156).contains(&at) { i64::from(b' ') } else { value(byte) })
                .sum()
        };
        let stated = header.cksum().map(i64::from).unwrap_or(-1);
        // Some old programs took bytes for signed.
        if stated != sum(i64::from) && stated != sum(|byte| i64::from(byte.cast_signed())) {
            return Err(broken("a header's checksum is wrong: it is no tar archive, or a damaged one"));
        }
        Ok(Some(header))
    }

    /// Reads a member's data into memory, and adds its size to that of what is there already.
    fn extended_data(&mut self, size: &mut u64) -> Result<Vec<u8>> {
        *size = size.saturating_add(self.left);
        if *size > MOST_EXTENDED {
            return Err(broken("an extended header is too large"));
        }
        let mut data = Vec::new();
        while self.left > 0 {
            let piece = self.piece()?;
            data.extend_from_slice(piece);
            let count = piece.len();
            self.used(count);
        }
        Ok(data)
    }

    fn long_name(&mut self, size: &mut u64) -> Result<Vec<u8>> {
        let mut name = self.extended_data(size)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn member(&mut self, header: &Header, extended: &Extended) -> Result<Member> {
        if let Some(size) = extended.number("size")? {
            self.expect(size);
        }
        let path = match extended.get("GNU.sparse.name").or(extended.get("path")) {
            Some(path) => path.to_vec(),
            None => extended.path.clone().unwrap_or_else(|| header.path_bytes().into_owned()),
        };
        let kind = self.kind(header, extended, &path)?;
        let owner = extended.number("uid")?.map_or_else(|| header.uid(), Ok)?;
        let group = extended.number("gid")?.map_or_else(|| header.gid(), Ok)?;
        let modified = match extended.get("mtime") {
            Some(time) => pax::parse_time(time)?,
            None => (header.mtime()?.cast_signed(), 0),
        };
        Ok(Member {
            kind,
            path,
            mode: header.mode()? & 0o7777,
            owner: id(owner)?,
            group: id(group)?,
            modified,
            attributes: pax::attributes(&extended.records),
        })
    }

    fn kind(&mut self, header: &Header, extended: &Extended, path: &[u8]) -> Result<Kind> {
        let target = || match extended.get("linkpath").map(<[u8]>::to_vec).or_else(|| extended.link.clone()) {
            Some(target) => Ok(target),
            None => header
                .link_name_bytes()
                .map(std::borrow::Cow::into_owned)
                .ok_or_else(|| broken("a link leads nowhere")),
        };
        let device = || -> Result<(u32, u32)> {
            let numbers = header.device_major()?.zip(header.device_minor()?);
            numbers.ok_or_else(|| broken("a device has no number"))
        };
        Ok(match header.entry_type() {
            EntryType::Link => {
                // Whatever size is stated, a link has no data.
                self.expect(0);
                Kind::HardLink(target()?)
            }
            EntryType::Symlink => Kind::Link(target()?),
            EntryType::Char => device().map(|(major, minor)| Kind::CharacterDevice(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            EntryType::Directory => Kind::Directory,
            // GNU's dump of a directory.
            kind if kind.as_byte() == b'D' => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            EntryType::GNUSparse => Kind::File(Some(self.gnu_sparse(header)?)),
            _ => match PaxSparse::from_records(&extended.records)? {
                Some(sparse) => {
                    let (map, taken) = sparse.map(self.left, &mut self.source)?;
                    self.left -= taken;
                    Kind::File(Some(map))
                }
                // Before POSIX there was no mark for directories.
                None if path.ends_with(b"/") && header.as_ustar().is_none() => Kind::Directory,
                None => Kind::File(None),
            },
        })
    }

    fn gnu_sparse(&mut self, header: &Header) -> Result<SparseMap> {
        let gnu = header.as_gnu().ok_or_else(|| broken("a sparse file has no GNU header"))?;
        let mut parts = Vec::new();
        let mut add = |descriptions: &[tar::GnuSparseHeader]| -> Result<()> {
            for part in descriptions.iter().filter(|part| !part.is_empty()) {
                if parts.len() == MOST_PARTS {
                    return Err(broken("a sparse file has too many parts"));
                }
                parts.push((part.offset()?, part.length()?));
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extension = GnuExtSparseHeader::new();
            let block = read_block(&mut self.source)?.ok_or_else(|| broken("a sparse file is cut off"))?;
            extension.as_mut_bytes().copy_from_slice(&block);
            add(extension.sparse())?;
            more = extension.is_extended();
        }
        SparseMap::checked(parts, gnu.real_size()?, self.left)
    }
}

fn id(number: u64) -> Result<u32> {
    // The highest number means "leave it as it is" to the kernel.
    let fitting = u32::try_from(number).ok().filter(|&number| number != u32::MAX);
    fitting.ok_or_else(|| Broken(format!("{number} is not the number of a user or group")))
}

/// Reads a block; `None` at the end of the source.
fn read_block(source: &mut impl BufRead) -> Result<Option<[u8; BLOCK as usize]>> {
    let mut block = [0; BLOCK as usize];
    let mut filled = 0;
    while filled < block.len() {
        let piece = source.fill_buf()?;
        if piece.is_empty() {
            return if filled == 0 {
                Ok(None)
            } else {
                Err(broken("the archive is cut off within a header"))
            };
        }
        let count = piece.len().min(block.len() - filled);
        block[filled..filled + count].copy_from_slice(&piece[..count]);
        source.consume(count);
        filled += count;
    }
    Ok(Some(block))
}
