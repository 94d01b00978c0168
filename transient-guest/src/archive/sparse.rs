//! Sparse files: which parts of a file an archive holds. What lies between is a hole.

use std::io::BufRead;

use super::pax::Record;
use super::{Broken, Result, broken, read_block};

/// The most parts that a file may have; a real file has far fewer.
pub(crate) const MOST_PARTS: usize = 1 << 20;

/// The parts of a file that are in the archive, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    /// Offset and length of each part, in order.
    pub parts: Vec<(u64, u64)>,
    /// The size of the file, holes included.
    pub size: u64,
}

impl SparseMap {
    /// Checks that the parts are in order, within the file, and `stored` bytes together.
    pub(super) fn checked(parts: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for &(offset, length) in &parts {
            if offset < end {
                return Err(broken("the parts of a sparse file overlap"));
            }
            end = offset.checked_add(length).ok_or_else(|| broken("a sparse file is too large"))?;
            sum += length;
        }
        if end > size {
            return Err(broken("a part of a sparse file lies behind its end"));
        }
        if sum != stored {
            return Err(broken("the parts of a sparse file do not add up to what is stored"));
        }
        Ok(Self { parts, size })
    }
}

/// What an extended header says about a sparse file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PaxSparse {
    major: u64,
    minor: u64,
    size: Option<u64>,
    parts: Vec<(u64, u64)>,
    pending: Option<u64>,
    seen: bool,
}

impl PaxSparse {
    /// Reads the records that are about sparse files; `None` if there are none.
    pub(super) fn from_records(records: &[Record]) -> Result<Option<Self>> {
        let mut sparse = Self::default();
        for (key, value) in records {
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                sparse.take(key, value)?;
            }
        }
        Ok(sparse.seen.then_some(sparse))
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.seen = true;
        match key {
            b"major" => self.major = number(value)?,
            b"minor" => self.minor = number(value)?,
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" => self.pending = Some(number(value)?),
            b"numbytes" => {
                let offset =
                    self.pending.take().ok_or_else(|| broken("a part of a sparse file has no offset"))?;
                self.parts.push((offset, number(value)?));
            }
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').map(number).collect::<Result<Vec<u64>>>()?;
                self.parts = pairs(&numbers)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the map, and how many bytes of the member it took: version 1.0 has it before the data.
    pub(super) fn map(self, stored: u64, data: &mut impl BufRead) -> Result<(SparseMap, u64)> {
        let size = self.size.ok_or_else(|| broken("a sparse file has no size"))?;
        if self.major == 0 {
            return Ok((SparseMap::checked(self.parts, size, stored)?, 0));
        }
        if (self.major, self.minor) != (1, 0) {
            return Err(Broken(format!(
                "sparse files of version {}.{} are not known",
                self.major, self.minor
            )));
        }
        let (parts, taken) = leading_map(stored, data)?;
        Ok((SparseMap::checked(parts, size, stored - taken)?, taken))
    }
}

/// Reads the map that stands before the data: a count, then pairs, a line each, padded to a block.
fn leading_map(stored: u64, data: &mut impl BufRead) -> Result<(Vec<(u64, u64)>, u64)> {
    let mut text = Vec::new();
    let mut numbers = Vec::new();
    let mut taken = 0;
    let mut wanted = None;
    while wanted.is_none_or(|wanted| numbers.len() < wanted) {
        let block = read_block(data)?.filter(|_| taken < stored);
        text.extend_from_slice(&block.ok_or_else(|| broken("the map of a sparse file is cut off"))?);
        taken += 512;
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let value = number(&line[..end])?;
            match wanted {
                None => {
                    let count = usize::try_from(value).ok().filter(|&count| count <= MOST_PARTS);
                    wanted = Some(2 * count.ok_or_else(|| broken("a sparse file has too many parts"))?);
                }
                Some(wanted) if numbers.len() < wanted => numbers.push(value),
                Some(_) => break,
            }
            if wanted == Some(numbers.len()) {
                break;
            }
        }
        if text.len() > 2 * 512 {
            return Err(broken("the map of a sparse file is not understood"));
        }
    }
    if taken > stored {
        return Err(broken("the map of a sparse file is larger than the file"));
    }
    Ok((pairs(&numbers)?, taken))
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(broken("the map of a sparse file has an odd number of numbers"));
    }
    Ok(pairs.iter().map(|&[offset, length]| (offset, length)).collect())
}

/// Reads a decimal number.
pub(super) fn number(value: &[u8]) -> Result<u64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Broken(format!("{:?} is no number", String::from_utf8_lossy(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<Record> {
        pairs
            .iter()
            .map(|(key, value)| (format!("GNU.sparse.{key}").into(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn all_three_versions_give_the_same_map() {
        let expected = SparseMap { parts: vec![(512, 100), (4096, 5)], size: 5000 };
        let zero = records(&[
            ("size", "5000"),
            ("numblocks", "2"),
            ("offset", "512"),
            ("numbytes", "100"),
            ("offset", "4096"),
            ("numbytes", "5"),
        ]);
        let one = records(&[("size", "5000"), ("map", "512,100,4096,5")]);
        let posix = records(&[("major", "1"), ("minor", "0"), ("realsize", "5000")]);
        let mut block = b"2\n512\n100\n4096\n5\n".to_vec();
        block.resize(512, 0);
        for (records, stored, taken) in [(zero, 105, 0), (one, 105, 0), (posix, 617, 512)] {
            let sparse = PaxSparse::from_records(&records).unwrap().unwrap();
            assert_eq!(sparse.map(stored, &mut &block[..]).unwrap(), (expected.clone(), taken));
        }
    }

    #[test]
    fn impossible_maps_are_refused() {
        assert!(SparseMap::checked(vec![(0, 10), (5, 5)], 100, 15).is_err());
        assert!(SparseMap::checked(vec![(u64::MAX, 10)], u64::MAX, 10).is_err());
        assert!(SparseMap::checked(vec![(0, 10)], 5, 10).is_err());
        assert!(SparseMap::checked(vec![(0, 10)], 10, 9).is_err());
        assert!(SparseMap::checked(vec![(0, 10), (20, 0)], 20, 10).is_ok());
        for block in ["999999999999\n", "x\n", "2\n0\n1\n"] {
            let mut block = block.as_bytes().to_vec();
            block.resize(512, 0);
            assert!(leading_map(512, &mut &block[..]).is_err());
        }
    }
}
