//! Formats whose header is one block: qcow, QED and VDI.

use super::bytes::Field as _;
use super::{CUT_OFF, Format, Header};

/// The first version of qcow: big-endian, the fields up to `crypt_method`.
pub(super) fn qcow(start: &[u8]) -> Header {
    let (Some(backing), Some(size), Some(crypt)) = (start.be64(8), start.be64(24), start.be32(36)) else {
        return Header::refused(Format::Qcow, CUT_OFF);
    };
    Header::accepted(Format::Qcow, size)
        .refuse_if(backing != 0, "it names a backing file")
        .refuse_if(crypt != 0, "it is encrypted")
}

/// QED, as `docs/interop/qed_spec.txt` of QEMU specifies it: little-endian.
pub(super) fn qed(start: &[u8]) -> Header {
    const HAS_BACKING_FILE: u64 = 1;
    /// Backing file, dirty, backing file is raw.
    const KNOWN: u64 = 0b111;
    let (Some(features), Some(size)) = (start.le64(16), start.le64(48)) else {
        return Header::refused(Format::Qed, CUT_OFF);
    };
    Header::accepted(Format::Qed, size)
        .refuse_if(features & HAS_BACKING_FILE != 0, "it names a backing file")
        .refuse_if(features & !KNOWN != 0, "it has unknown incompatible features")
}

/// VDI: little-endian. Types other than dynamic and static refer to a parent.
pub(super) fn vdi(start: &[u8]) -> Header {
    let (Some(kind), Some(size), Some(link)) =
        (start.le32(0x4c), start.le64(0x170), start.field::<32>(0x1a8))
    else {
        return Header::refused(Format::Vdi, CUT_OFF);
    };
    Header::accepted(Format::Vdi, size)
        .refuse_if(!(1..=2).contains(&kind), "it is neither a dynamic nor a static VDI image")
        .refuse_if(link != [0; 32], "it is linked to a parent image")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(length: usize, fields: &[(usize, &[u8])]) -> Header {
        let mut bytes = vec![0; length];
        for (at, field) in fields {
            bytes[*at..*at + field.len()].copy_from_slice(field);
        }
        Header::parse(&bytes)
    }

    #[test]
    fn qcow_with_a_backing_file_is_refused() {
        let magic: (usize, &[u8]) = (0, b"QFI\xfb\0\0\0\x01");
        assert_eq!(patched(48, &[magic, (31, &[9])]).virtual_size, 9);
        assert!(patched(48, &[magic]).refusal().is_none());
        assert!(patched(48, &[magic, (15, &[9])]).refusal().is_some());
        assert!(patched(48, &[magic, (39, &[1])]).refusal().is_some());
        assert_eq!(patched(39, &[magic]).refusal(), Some(CUT_OFF));
    }

    #[test]
    fn qed_with_a_backing_file_is_refused() {
        let magic: (usize, &[u8]) = (0, b"QED\0");
        assert!(patched(64, &[magic, (16, &[2])]).refusal().is_none());
        assert!(patched(64, &[magic, (16, &[1])]).refusal().is_some());
        assert!(patched(64, &[magic, (16, &[8])]).refusal().is_some());
    }

    #[test]
    fn vdi_with_a_parent_is_refused() {
        let magic: (usize, &[u8]) = (0x40, &[0x7f, 0x10, 0xda, 0xbe]);
        assert!(patched(512, &[magic, (0x4c, &[1])]).refusal().is_none());
        assert!(patched(512, &[magic, (0x4c, &[4])]).refusal().is_some());
        assert!(patched(512, &[magic, (0x4c, &[1]), (0x1a8, &[1])]).refusal().is_some());
        assert!(patched(512, &[magic, (0x4c, &[1]), (0x1c7, &[1])]).refusal().is_some());
    }
}
