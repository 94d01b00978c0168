//! VMDK: a sparse extent that carries its own descriptor is taken, everything that names files is not.
//! VMware's "Virtual Disk Format 5.0" specifies it: little-endian, in sectors.
//! <https://www.vmware.com/support/developer/vddk/vmdk_50_technote.pdf>

use std::io;

use super::bytes::{Field as _, Input};
use super::map::{Entry, Map, Tables};
use super::refusal::Refusal;
use super::{Format, Header, Parsed};

const SECTOR: u64 = 512;
/// As much of a descriptor as QEMU reads.
const DESCRIPTOR: usize = 20 * 512;
/// Where QEMU looks for the name of a parent, wherever the header says that the descriptor is.
const DESCRIPTOR_SECTOR: u64 = 1;
/// The directory of a stream is not known when its header is written: it is in another one at the end.
const AT_END: u64 = u64::MAX;
/// How far from the end that one is: it is followed by the mark of the end.
const FOOTER: u64 = 2 * SECTOR;

const NAMES_OTHERS: &str = "it is a VMDK descriptor, which names other files";
const OUT_OF_RANGE: &str = "the sizes in its header are out of range";

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

pub(super) fn read(input: &dyn Input, start: &[u8]) -> io::Result<Parsed> {
    let refused = |refusal| Ok(Header::refused(Format::Vmdk, refusal).into());
    if start.starts_with(b"COWD") {
        return refused(Refusal::incomplete("it is one of several files of an ESX image"));
    }
    if !start.starts_with(b"KDMV") {
        return refused(descriptor_alone(&String::from_utf8_lossy(start)));
    }
    let Some(extent) = Extent::parse(start) else { return Ok(Header::cut_off(Format::Vmdk).into()) };
    // Without a capacity, QEMU follows the descriptor.
    if extent.capacity == 0 {
        return refused(Refusal::incomplete(NAMES_OTHERS));
    }
    let at = DESCRIPTOR_SECTOR * SECTOR;
    if let Err(refusal) = check_descriptor(&extent, &input.read_at(at, DESCRIPTOR)?) {
        return refused(refusal);
    }
    if extent.directory != AT_END {
        return Ok(extent.parsed());
    }
    let end = input.length()?.next_multiple_of(SECTOR);
    let footer = input.read_at(end.saturating_sub(FOOTER), SECTOR as usize)?;
    let footer = Some(footer).filter(|footer| footer.starts_with(b"KDMV"));
    match footer.as_deref().and_then(Extent::parse) {
        Some(footer) => Ok(footer.parsed()),
        None => refused(Refusal::damaged("the part at its end is missing")),
    }
}

/// The header of a sparse extent.
struct Extent {
    version: u32,
    flags: u32,
    /// The size of the disk, and of each grain, in sectors.
    capacity: u64,
    grain: u64,
    descriptor: u64,
    /// How many grains a table has.
    grains: u64,
    /// The directory: the table of all tables.
    directory: u64,
}

impl Extent {
    fn parse(header: &[u8]) -> Option<Self> {
        Some(Self {
            version: header.le32(4)?,
            flags: header.le32(8)?,
            capacity: header.le64(12)?,
            grain: header.le64(20)?,
            descriptor: header.le64(28)?,
            grains: u64::from(header.le32(44)?),
            directory: header.le64(56)?,
        })
    }

    fn parsed(self) -> Parsed {
        /// An entry of 1 is a grain of zeros.
        const ZERO_GRAINS: u32 = 1 << 2;
        /// QEMU takes no larger grain: 1 GiB.
        const LARGEST_GRAIN: u64 = 1 << 21;
        let in_range = self.version <= 3
            && (1..=LARGEST_GRAIN).contains(&self.grain)
            && (1..=512).contains(&self.grains)
            && self.directory != AT_END;
        let first = if self.flags & ZERO_GRAINS == 0 { 1 } else { 2 };
        Header::accepted(Format::Vmdk, self.capacity.saturating_mul(SECTOR))
            .refuse_if(!in_range, Refusal::damaged(OUT_OF_RANGE))
            .with_map(|| {
                let entry = |first: u32| Entry {
                    size: 4,
                    alignment: SECTOR,
                    decode: Box::new(move |entry| {
                        let sector = entry.le32(0).filter(|sector| *sector >= first)?;
                        Some(u64::from(sector) * SECTOR)
                    }),
                };
                Map {
                    offset: self.directory.saturating_mul(SECTOR),
                    entries: self.capacity.div_ceil(self.grains * self.grain),
                    entry: entry(1),
                    tables: Some(Tables { size: 4 * self.grains, entry: entry(first), taken: Vec::new() }),
                }
            })
    }
}

/// Says what a file is that is nothing but a descriptor.
fn descriptor_alone(text: &str) -> Refusal {
    Refusal::incomplete(match extents(text).next() {
        Some(line) => format!("{NAMES_OTHERS} (`{}`)", line.escape_debug()),
        None => NAMES_OTHERS.to_owned(),
    })
}

fn check_descriptor(extent: &Extent, descriptor: &[u8]) -> Result<(), Refusal> {
    // A hint in any place makes QEMU open the parent.
    if contains(descriptor, b"parentFileNameHint") {
        return Err(Refusal::incomplete("it names a parent image"));
    }
    match extent.descriptor {
        DESCRIPTOR_SECTOR => {}
        0 => return Err(Refusal::incomplete("it is one of several files of a VMDK image")),
        _ => return Err(Refusal::damaged("its descriptor is not in its second sector")),
    }
    let text = descriptor.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    if value(&text, "parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff")) {
        return Err(Refusal::incomplete("it differs from a parent image"));
    }
    // Every descriptor has an identifier; the part of a split image has none, and no descriptor.
    let whole = value(&text, "CID").is_some();
    let kind = value(&text, "createType");
    let alone = kind.is_none_or(|kind| matches!(kind, "monolithicSparse" | "streamOptimized"));
    if !whole || !alone || extents(&text).count() > 1 {
        return Err(Refusal::incomplete("it is one of several files of a VMDK image"));
    }
    Ok(())
}

/// Returns the lines that name the files which make up the disk.
fn extents(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| {
        let word = line.split_ascii_whitespace().next();
        matches!(word, Some("RW" | "RDONLY" | "NOACCESS"))
    })
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"'))
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of two grains of eight sectors; the descriptor is followed by the directory and its only table.
    fn image(descriptor: &str) -> Vec<u8> {
        let mut bytes = vec![0; 24 * 512];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"KDMV\x01");
        put(12, &16_u64.to_le_bytes());
        put(20, &8_u64.to_le_bytes());
        put(28, &1_u64.to_le_bytes());
        put(44, &512_u32.to_le_bytes());
        put(56, &10_u64.to_le_bytes());
        put(512, b"CID=1\n");
        put(518, descriptor.as_bytes());
        put(10 * 512, &11_u32.to_le_bytes());
        put(11 * 512, &16_u32.to_le_bytes());
        bytes
    }

    fn patched(at: usize, field: &[u8]) -> Header {
        let mut bytes = image("");
        bytes[at..at + field.len()].copy_from_slice(field);
        Header::parse(&bytes)
    }

    fn reason(header: &Header) -> &str {
        header.refusal().unwrap_or("none")
    }

    #[test]
    fn a_file_that_stands_alone_is_fine() {
        let text = "parentCID=FFFFFFFF\ncreateType=\"monolithicSparse\"\nRW 8 SPARSE \"a.vmdk\"\n";
        let header = Header::parse(&image(text));
        assert_eq!((header.virtual_size, reason(&header)), (8192, "none"));
        assert_eq!(reason(&Header::parse(&image(""))), "none");
    }

    #[test]
    fn a_file_that_names_others_is_refused() {
        for (descriptor, expected) in [
            ("createType=\"twoGbMaxExtentSparse\"\n", "several files"),
            ("RW 8 SPARSE \"a\"\nRW 8 FLAT \"/etc/shadow\" 0\n", "several files"),
            ("parentFileNameHint=\"/x\"\n", "names a parent"),
            ("a\0parentFileNameHint=\"/x\"\n", "names a parent"),
            ("parentCID=1\n", "differs from a parent"),
        ] {
            let header = Header::parse(&image(descriptor));
            assert!(reason(&header).contains(expected), "{descriptor:?}: {header:?}");
        }
        for (descriptor, expected) in [
            ("# Disk DescriptorFile\nversion=1\nRW 9 FLAT \"f\" 0\n", "(`RW 9 FLAT \\\"f\\\" 0`)"),
            ("# x\n\nversion=3\n", "descriptor"),
            ("COWD", "ESX"),
        ] {
            let header = Header::parse(descriptor.as_bytes());
            assert_eq!(header.format, Format::Vmdk, "{descriptor:?}");
            assert!(reason(&header).contains(expected), "{header:?}");
        }
    }

    #[test]
    fn a_parent_is_found_where_qemu_looks_for_it() {
        let mut bytes = image("parentFileNameHint=\"/x\"\n");
        bytes[28] = 20;
        assert!(reason(&Header::parse(&bytes)).contains("names a parent"));
        bytes[518..1024].fill(0);
        assert!(reason(&Header::parse(&bytes)).contains("second sector"));
    }

    #[test]
    fn a_part_without_a_descriptor_is_refused() {
        let header = patched(512, &[0; 6]);
        assert!(reason(&header).contains("several files"), "{header:?}");
    }

    #[test]
    fn a_broken_map_is_refused() {
        for (at, field, expected) in [
            (12, &[0_u8] as &[u8], "names other files"),
            (28, &[0], "several files"),
            (4, &[4], "out of range"),
            (20, &[0], "out of range"),
            (45, &[3], "out of range"),
            (56, &[200], "outside"),
            (10 * 512, &[200], "outside"),
            (11 * 512, &[24], "beyond the end"),
            (56, &[0xff; 8], "at its end is missing"),
        ] {
            let header = patched(at, field);
            assert!(reason(&header).contains(expected), "{at}: {header:?}");
        }
    }

    #[test]
    fn a_stream_has_its_directory_at_the_end() {
        let mut stream = image("");
        let header = stream[..512].to_vec();
        stream[56..64].fill(255);
        let footer = [&[0; 512], &header[..], &[0; 512]].concat();
        let parsed = Header::parse(&[&stream[..], &footer].concat());
        assert_eq!((parsed.virtual_size, reason(&parsed)), (8192, "none"));
    }
}
