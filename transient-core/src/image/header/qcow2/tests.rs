use super::super::CUT_OFF;
use super::*;

const CLUSTER: usize = 512;

/// An image with clusters of 512 bytes, one each for the header, the refcount table and its block, the L1 table,
/// the L2 table, and the only data of a disk of 4 KiB.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 6 * CLUSTER];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &9_u32.to_be_bytes());
    put(24, &4096_u64.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    put(3 * CLUSTER, &((1 << 63) | (4 * CLUSTER as u64)).to_be_bytes());
    put(4 * CLUSTER, &((1 << 63) | (5 * CLUSTER as u64)).to_be_bytes());
    bytes
}

fn with(fields: &[(usize, &[u8])]) -> Header {
    let mut bytes = image();
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    Header::parse(&bytes)
}

fn assert_refused(fields: &[(usize, &[u8])], reason: &str) {
    let header = with(fields);
    assert!(header.refusal().is_some_and(|text| text.contains(reason)), "{reason}: {header:?}");
    assert!(header.hint().is_some_and(|hint| !hint.is_empty()));
}

#[test]
fn a_plain_image_is_fine() {
    let header = with(&[]);
    assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Qcow2, 4096, None));
    // Also as version 2, whose header ends before the fields of version 3.
    assert_eq!(with(&[(4, &2_u32.to_be_bytes()), (72, &[0; 32])]).refusal(), None);
}

#[test]
fn what_points_elsewhere_is_refused() {
    assert_refused(&[(8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3]), (256, b"a\0b")], "backing file (`a\\0b`)");
    // A name of no length is a backing file for QEMU, too.
    assert_refused(&[(8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])], "backing file (``)");
    assert_refused(&[(8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255])], "backing file out of range");
    assert_refused(&[(8, &[0, 0, 0, 0, 0, 0, 0, 99])], "backing file out of range");
    assert_refused(&[(8, &0x1_0000_u64.to_be_bytes())], "backing file out of range");
    assert_refused(&[(79, &[4]), (104, b"DATA\0\0\0\x08json:{}x")], "another file (`json:{}x`)");
    assert_refused(&[(79, &[4])], "another file (``)");
}

#[test]
fn names_that_are_no_paths_are_shown_in_the_reason() {
    for name in ["json:{\"driver\":\"nbd\"}", "nbd:unix:/run/x", "ssh://host/x", "/dev/sda"] {
        let length = [0, 0, 0, name.len() as u8];
        let header = with(&[(14, &[1]), (16, &length), (256, name.as_bytes())]);
        assert_eq!(header.qcow2.as_ref().and_then(|info| info.backing_file.as_deref()), Some(name));
        assert!(header.refusal().is_some_and(|reason| reason.contains(&*name.escape_debug().to_string())));
    }
}

#[test]
fn unknown_features_are_named() {
    let name = |bit: u8, name: &[u8]| {
        let mut entry = vec![0, bit];
        entry.extend(name);
        entry.resize(48, 0);
        entry
    };
    let table = [b"\x68\x03\xf8\x57\0\0\0\x60" as &[u8], &name(5, b"wings"), &name(63, &[b'x'; 46])].concat();
    assert_refused(&[(79, &[0x20])], "unknown incompatible features (bit 5)");
    assert_refused(&[(79, &[0x60]), (104, &table)], "(`wings`, bit 6)");
    assert_refused(&[(72, &[0x80]), (104, &table)], &format!("(`{}`)", "x".repeat(46)));
    // Compatible and autoclear features need not be known.
    assert_eq!(with(&[(80, &[255; 16])]).refusal(), None);
}

#[test]
fn fields_out_of_range_are_refused() {
    for (at, value, reason) in [
        (4, 4_u32, "version"),
        (4, 0, "version"),
        (20, 8, "cluster size"),
        (20, 22, "cluster size"),
        (20, u32::MAX, "cluster size"),
        (24, u32::MAX, "64 TiB"),
        (32, 1, "AES"),
        (32, 2, "LUKS"),
        (32, 3, "encrypted"),
        (76, 1, "not closed"),
        (76, 2, "corrupt"),
        (76, 8, "contradicts"),
        (76, 16, "subclusters"),
        (96, 7, "reference counts"),
        (100, 99, "length of its header"),
        (100, 105, "length of its header"),
        (100, 520, "length of its header"),
    ] {
        assert_refused(&[(at, &value.to_be_bytes())], reason);
    }
}

#[test]
fn compression_must_agree_with_the_features() {
    let long = (103, &[112_u8] as &[u8]);
    assert_eq!(with(&[long, (79, &[8]), (104, &[1])]).refusal(), None);
    assert_refused(&[long, (79, &[8])], "contradicts");
    assert_refused(&[long, (104, &[1])], "contradicts");
    assert_refused(&[long, (79, &[8]), (104, &[2])], "unknown way");
}

#[test]
fn extensions_stay_in_the_header() {
    let extension = |kind: u32, length: u32| [kind.to_be_bytes(), length.to_be_bytes()].concat();
    assert_eq!(with(&[(104, &extension(7, 400))]).refusal(), None);
    assert_refused(&[(104, &extension(7, 401))], "runs out");
    assert_refused(&[(104, &extension(7, u32::MAX))], "runs out");
    // The backing file's name ends them; the end is told before the backing file is looked for elsewhere.
    let header = with(&[(14, &[1]), (104, &extension(0xe279_2aca, 152))]);
    assert!(header.refusal().is_some_and(|reason| reason.contains("backing file")));
    assert_eq!(header.qcow2.and_then(|info| info.backing_format), None);
    let empty = extension(7, 0).repeat(51);
    assert_eq!(with(&[(104, &empty)]).refusal(), None);
}

#[test]
fn tables_stay_in_the_file_and_apart() {
    let be = |value: u64| value.to_be_bytes();
    for (at, value, reason) in [
        (36, &[0_u8; 4] as &[u8], "L1 table is too small"),
        (24, &be(1 << 30), "L1 table is too small"),
        (36, &[0, 0, 2, 0], "L1 table lies outside"),
        (36, &[0, 64, 0, 1], "L1 table is absurdly large"),
        (36, &[255; 4], "L1 table is absurdly large"),
        (40, &be(1), "L1 table is not at the begin"),
        (40, &be(512 * 200), "L1 table lies outside"),
        (40, &be(0), "overlap"),
        (40, &be(512), "overlap"),
        (40, &be(u64::MAX << 9), "L1 table lies outside"),
        (48, &be(513), "refcount table is not at the begin"),
        (48, &be(512 * 6), "refcount table lies outside"),
        (48, &be(0), "overlap"),
        (56, &[0; 4], "no refcount table"),
        (56, &[0, 0, 0, 3], "overlap"),
        (56, &[255; 4], "refcount table is absurdly large"),
        (60, &[0, 0, 0, 1], "overlap"),
        (60, &[0, 1, 0, 1], "table of snapshots is absurdly large"),
        (64, &be(7), "table of snapshots is not at the begin"),
    ] {
        assert_refused(&[(at, value)], reason);
    }
    assert_eq!(with(&[(63, &[12]), (64, &be(512 * 5))]).refusal(), None);
    assert_refused(&[(63, &[13]), (64, &be(512 * 5))], "table of snapshots lies outside");
}

#[test]
fn bitmaps_count_only_while_they_are_valid() {
    let mut extension = b"\x23\x85\x28\x75\0\0\0\x18\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x20".to_vec();
    extension.extend(3072_u64.to_be_bytes());
    assert_eq!(with(&[(104, &extension)]).refusal(), None);
    assert_refused(&[(104, &extension), (95, &[1])], "directory of bitmaps lies outside");
}

#[test]
fn the_map_stays_in_the_file() {
    let (l1, l2) = (3 * CLUSTER, 4 * CLUSTER);
    let be = |value: u64| value.to_be_bytes();
    for (at, value, reason) in [
        (l1, be(512 * 6), "outside of the file"),
        (l1, be(512 * 4 + 1024 * 1024), "outside of the file"),
        (l1, be(512), "overlap"),
        (l1, be(512 * 3), "overlap"),
        (l2, be(512 * 6), "beyond the end"),
        (l2, be((1 << 56) - 512), "beyond the end"),
        (l2, be((1 << 62) | (512 * 6)), "beyond the end"),
    ] {
        assert_refused(&[(at, &value)], reason);
    }
    for entry in [0, 1, 512 * 6 + 1, (1 << 62) | (512 * 6 - 1)] {
        assert_eq!(with(&[(l2, &be(entry))]).refusal(), None, "{entry:#x}");
    }
    // Larger clusters make the same table be in no right place.
    assert_eq!(with(&[(l1, &be(0))]).refusal(), None);
}

#[test]
fn one_table_in_two_places_is_refused() {
    let table = (4 * CLUSTER as u64).to_be_bytes();
    let two = [(24, &(1_u64 << 16).to_be_bytes() as &[u8]), (39, &[2]), (3 * CLUSTER + 8, &table)];
    assert_refused(&two, "overlap");
}

#[test]
fn a_header_alone_is_read_without_the_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    let mut bytes = image();
    bytes.truncate(5 * CLUSTER);
    std::fs::write(&path, &bytes).expect("written");
    assert_eq!(Header::open(&path).expect("readable").refusal(), None);
    let file = std::fs::File::open(&path).expect("there");
    let cancel = crate::CancelToken::new();
    let header = Header::inspect(&file, &cancel).expect("readable");
    assert!(header.refusal().is_some_and(|reason| reason.contains("beyond the end")));
    cancel.cancel();
    assert!(Header::inspect(&file, &cancel).is_err());
}

#[test]
fn a_cut_off_header_is_refused() {
    for length in [8, 71, 103] {
        let header = Header::parse(&image()[..length]);
        assert_eq!(header.refusal(), Some(CUT_OFF), "{length}");
    }
}
