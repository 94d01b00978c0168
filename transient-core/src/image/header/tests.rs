use proptest::prelude::*;

use super::*;

const MAGICS: [&[u8]; 12] = [
    b"QFI\xfb\0\0\0\x03",
    b"QFI\xfb\0\0\0\x02",
    b"QFI\xfb\0\0\0\x01",
    b"QED\0",
    b"LUKS\xba\xbe",
    b"KDMV",
    b"# Disk DescriptorFile",
    b"vhdxfile",
    b"conectix",
    b"WithouFreSpacExt",
    b"WithoutFreeSpace",
    b"",
];

#[test]
fn other_files_are_raw() {
    let header = Header::parse(&[0; 1000]);
    assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Raw, 1024, None));
    assert_eq!(Header::parse(b"").format, Format::Raw);
}

/// Sets bytes of an otherwise empty file of 4 KiB.
fn with(fields: &[(usize, &[u8])]) -> Header {
    let mut bytes = vec![0; 4096];
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    Header::parse(&bytes)
}

#[test]
fn two_signatures_are_refused() {
    const VDI: (usize, &[u8]) = (0x40, &[0x7f, 0x10, 0xda, 0xbe]);
    const VHD_FOOTER: (usize, &[u8]) = (4096 - 512, b"conectix");
    const DMG_FOOTER: (usize, &[u8]) = (4096 - 512, b"koly");
    for (fields, names) in [
        ([(0, b"QFI\xfb\0\0\0\x03" as &[u8]), VHD_FOOTER], "qcow2, vpc"),
        ([(0, b"KDMV"), VHD_FOOTER], "vmdk, vpc"),
        ([(0, b"vhdxfile"), DMG_FOOTER], "vhdx, dmg"),
        ([(0, b"QED\0"), VDI], "qed, vdi"),
        ([VDI, VHD_FOOTER], "vdi, vpc"),
    ] {
        let header = with(&fields);
        let reason = header.refusal().unwrap_or_default();
        assert!(reason.ends_with(names), "{names}: {header:?}");
        assert!(header.hint().is_some_and(|hint| hint.contains("-f FORMAT")), "{header:?}");
    }
}

#[test]
fn formats_that_are_not_supported_are_named() {
    let cloop: (usize, &[u8]) = (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0");
    for (field, name) in [
        ((0, b"Bochs Virtual HD Image\0" as &[u8]), "bochs"),
        (cloop, "cloop"),
        ((4096 - 512, b"koly"), "dmg"),
    ] {
        let reason = with(&[field]).refusal().unwrap_or_default().to_owned();
        assert!(reason.contains(&format!("the format {name}")), "{reason}");
    }
}

#[test]
fn a_luks_volume_is_refused() {
    let header = with(&[(0, b"LUKS\xba\xbe\0\x01")]);
    assert_eq!((header.format, header.refusal()), (Format::Luks, Some("it is encrypted")));
}

#[test]
fn a_boot_sector_is_raw() {
    let header = with(&[(0, b"\xeb\x63\x90"), (510, &[0x55, 0xaa]), (512, b"EFI PART")]);
    assert_eq!((header.format, header.refusal()), (Format::Raw, None));
}

#[test]
fn a_sparse_giant_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("giant");
    let file = File::create(&path).expect("made");
    // Not every filesystem has files as large.
    if file.set_len(LARGEST_DISK + SECTOR).is_ok() {
        assert!(Header::open(&path).expect("readable").refusal().is_some_and(|why| why.contains("64 TiB")));
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(magic in 0..MAGICS.len(), rest in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let bytes = [MAGICS[magic], &rest].concat();
        let _ = Header::parse(&bytes);
    }
}
