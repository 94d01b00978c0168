//! VMDK: a sparse extent that carries its own descriptor is taken, everything that names files is not.

use std::io;

use super::bytes::{Field as _, Input};
use super::{CUT_OFF, Format, Header};

const SECTOR: u64 = 512;
/// As much of a descriptor as QEMU reads.
const DESCRIPTOR: usize = 20 * 512;

pub(super) fn matches(start: &[u8]) -> bool {
    start.starts_with(b"KDMV") || start.starts_with(b"COWD") || is_descriptor(start)
}

/// A descriptor may have blank lines and comments before its first word.
fn is_descriptor(start: &[u8]) -> bool {
    start.starts_with(b"# Disk DescriptorFile")
        || start
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .find(|line| !line.is_empty() && !line.starts_with(b"#"))
            .is_some_and(|line| line.starts_with(b"version="))
}

pub(super) fn read(input: &dyn Input, start: &[u8]) -> io::Result<Header> {
    if !start.starts_with(b"KDMV") {
        return Ok(Header::refused(Format::Vmdk, "it is a VMDK descriptor, which names other files"));
    }
    let (Some(capacity), Some(offset)) = (start.le64(12), start.le64(28)) else {
        return Ok(Header::refused(Format::Vmdk, CUT_OFF));
    };
    let descriptor = input.read_at(offset.saturating_mul(SECTOR), DESCRIPTOR)?;
    let end =
        descriptor.iter().position(|byte| *byte == 0).filter(|_| offset != 0).unwrap_or(descriptor.len());
    let header = Header::accepted(Format::Vmdk, capacity.saturating_mul(SECTOR));
    // Without a capacity, QEMU follows the descriptor. A hint in any place of it makes QEMU open the parent.
    let parent = [b"parentFileNameHint" as &[u8]].iter().any(|key| contains(&descriptor, key));
    Ok(header
        .refuse_if(capacity == 0, "it is a VMDK descriptor, which names other files")
        .refuse_if(parent, "it names a parent image")
        .refuse_if(!is_alone(&descriptor[..end]), "it is one of several files of a VMDK image"))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a descriptor lists no more than one extent, and is of a type that has only one file.
fn is_alone(descriptor: &[u8]) -> bool {
    let text = String::from_utf8_lossy(descriptor);
    let mut extents = 0;
    for line in text.lines().map(str::trim) {
        let word = line.split_ascii_whitespace().next().unwrap_or_default();
        if matches!(word, "RW" | "RDONLY" | "NOACCESS") {
            extents += 1;
        }
        if let Some(kind) = line.strip_prefix("createType=")
            && !matches!(kind.trim_matches('"'), "monolithicSparse" | "streamOptimized")
        {
            return false;
        }
    }
    extents <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(capacity: u64, descriptor: &str) -> Header {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(b"KDMV");
        bytes[12..20].copy_from_slice(&capacity.to_le_bytes());
        bytes[28..36].copy_from_slice(&1_u64.to_le_bytes());
        bytes.extend(descriptor.as_bytes());
        bytes.resize(16 << 10, 0);
        Header::parse(&bytes)
    }

    #[test]
    fn a_file_that_stands_alone_is_fine() {
        let header = image(8, "createType=\"monolithicSparse\"\nRW 8 SPARSE \"a.vmdk\"\n");
        assert_eq!((header.virtual_size, header.refusal()), (4096, None));
        assert!(image(8, "").refusal().is_none());
    }

    #[test]
    fn a_file_that_names_others_is_refused() {
        for (capacity, descriptor) in [
            (0, ""),
            (8, "createType=\"twoGbMaxExtentSparse\"\n"),
            (8, "RW 8 SPARSE \"a\"\nRW 8 FLAT \"/etc/shadow\" 0\n"),
            (8, "parentFileNameHint=\"/x\"\n"),
            (8, "a\0parentFileNameHint=\"/x\"\n"),
        ] {
            assert!(image(capacity, descriptor).refusal().is_some(), "{descriptor:?}");
        }
        for descriptor in ["# Disk DescriptorFile\nversion=1\n", "# x\n\nversion=3\n", "COWD"] {
            let header = Header::parse(descriptor.as_bytes());
            assert_eq!(header.format, Format::Vmdk, "{descriptor:?}");
            assert!(header.refusal().is_some());
        }
    }
}
