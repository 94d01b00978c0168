//! What may follow the fixed header: extensions, each a type, a length, and data that is padded to 8 bytes.

use std::io;

use super::super::bytes::{Field as _, Input};
use super::super::refusal::Refusal;
use super::fixed::Fixed;
use super::text;

/// Far more than there are kinds of extensions.
const MOST: usize = 64;
/// No name in a header is longer.
const LONGEST_NAME: u64 = 1023;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE: u32 = 0x4441_5441;
const FEATURE_NAMES: u32 = 0x6803_f857;
const BITMAPS: u32 = 0x2385_2875;

/// An entry of the table of names: a kind, a bit, and a name padded with zeros.
const FEATURE: usize = 48;
const INCOMPATIBLE: u8 = 0;

#[derive(Default)]
pub(super) struct Extensions {
    pub(super) backing_format: Option<String>,
    pub(super) data_file: Option<String>,
    /// Where the directory of bitmaps is, and its size.
    pub(super) bitmaps: Option<(u64, u64)>,
    feature_names: Vec<u8>,
    overrun: bool,
}

impl Extensions {
    pub(super) fn read(input: &dyn Input, fixed: &Fixed) -> io::Result<Self> {
        let mut found = Self::default();
        let end = if fixed.backing_offset == 0 { fixed.cluster() } else { fixed.backing_offset };
        let mut at = u64::from(fixed.header_length);
        for _ in 0..MOST {
            if at + 8 > end {
                return Ok(found);
            }
            let head = input.read_at(at, 8)?;
            let (Some(kind), Some(length)) = (head.be32(0), head.be32(4)) else { return Ok(found) };
            at += 8;
            let length = u64::from(length);
            if length > end - at {
                break;
            }
            if kind == END {
                return Ok(found);
            }
            found.take(kind, |most| input.read_at(at, length.min(most) as usize))?;
            at += length.next_multiple_of(8);
        }
        found.overrun = true;
        Ok(found)
    }

    fn take(&mut self, kind: u32, data: impl FnOnce(u64) -> io::Result<Vec<u8>>) -> io::Result<()> {
        match kind {
            BACKING_FORMAT => self.backing_format = Some(text(data(LONGEST_NAME)?)),
            DATA_FILE => self.data_file = Some(text(data(LONGEST_NAME)?)),
            FEATURE_NAMES => self.feature_names = data(u64::MAX)?,
            BITMAPS => {
                let data = data(24)?;
                self.bitmaps = data.be64(16).zip(data.be64(8));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.overrun {
            return Err(Refusal::damaged("an extension of its header runs out of the header"));
        }
        Ok(())
    }

    /// Names the features of these bits as the image itself does, or by their numbers.
    pub(super) fn name_features(&self, bits: u64) -> String {
        let name = |bit: u32| {
            let mut entries = self.feature_names.chunks_exact(FEATURE);
            entries.find(|entry| entry[..2] == [INCOMPATIBLE, bit as u8]).map(|entry| {
                let name = entry[2..].split(|byte| *byte == 0).next().unwrap_or_default();
                format!("`{}`", String::from_utf8_lossy(name).escape_debug())
            })
        };
        let set = (0..u64::BITS).filter(|bit| bits & (1 << bit) != 0);
        set.map(|bit| name(bit).unwrap_or_else(|| format!("bit {bit}"))).collect::<Vec<_>>().join(", ")
    }
}
