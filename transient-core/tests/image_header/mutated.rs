//! Images with a few bytes of their metadata changed: whatever is taken, QEMU reads or refuses cleanly, and it
//! opens no other file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use transient_core::CancelToken;
use transient_core::image::header::Header;

use super::{disk, has_qemu_img, info, qemu_img, run};

/// How many mutations of each image are tried; `TRANSIENT_MUTATIONS` asks for more.
const MUTATIONS: u64 = 12;

/// The same, where no QEMU looks at them.
const MUTATIONS_IN_MEMORY: u64 = 2000;

/// What QEMU refuses and the reader of headers takes, and why that is left to QEMU.
const LEFT_TO_QEMU: [(&str, &str, &str); 7] = [
    ("vhdx", "", "its checksums, its log and its block table are for QEMU to know"),
    ("vpc", "points after the end of file", "QEMU looks at the block table itself"),
    ("vmdk", "Invalid argument", "the identifiers in its descriptor are numbers"),
    ("vmdk", "File truncated", "the size of its metadata is of no use to anybody else"),
    ("vmdk", "l1 backup table", "the second copy of the first table is not read here"),
    ("parallels", "Format Extension", "bitmaps, which QEMU checks"),
    ("qed", "table offset is invalid", "a first table of which only the unused part is missing"),
];

/// A file, its format, and the parts of it that are metadata.
struct Base {
    path: PathBuf,
    metadata: Vec<(u64, u64)>,
}

fn bases(folder: &Path) -> Vec<Base> {
    let disk = disk(folder);
    let mut bases = Vec::new();
    for (format, options, metadata) in [
        ("qcow2", "cluster_size=512", vec![(0, 112), (112, 512), (512, 1024)]),
        ("qcow2", "compat=0.10", vec![(0, 72), (72, 200), (65536, 65600), (0x30000, 0x30010)]),
        ("qcow2", "extended_l2=on", vec![(0, 112), (0x30000, 0x30010), (0x40000, 0x40100)]),
        ("qcow", "", vec![(0, 64)]),
        ("qed", "", vec![(0, 64)]),
        ("vdi", "", vec![(0x40, 0x1d0), (0x200, 0x220)]),
        ("vmdk", "", vec![(0, 80), (512, 1024), (0x2a00, 0x2a10)]),
        ("vmdk", "subformat=streamOptimized", vec![(0, 80), (512, 1024)]),
        (
            "vhdx",
            "",
            vec![(0, 16), (0x10000, 0x10050), (0x30000, 0x30080), (0x200000, 0x2000c0), (0x210000, 0x210040)],
        ),
        ("vpc", "", vec![(0, 512), (512, 1536), (1536, 1560)]),
        ("parallels", "", vec![(0, 80)]),
    ] {
        let path = folder.join(format!("base-{}", bases.len()));
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        run(arguments.into_iter().map(OsStr::new).chain([disk.as_os_str(), path.as_os_str()]));
        bases.push(Base { path, metadata });
    }
    bases
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// Returns a place in the metadata, and what to write there.
    fn mutation(&mut self, base: &Base) -> (u64, Vec<u8>) {
        let (start, end) = base.metadata[self.roll(base.metadata.len() as u64) as usize];
        let at = start + self.roll(end - start);
        let bytes = match self.roll(6) {
            0 => vec![self.roll(256) as u8],
            1 => vec![1 << self.roll(8)],
            2 => (self.roll(64) as u32).to_be_bytes().to_vec(),
            3 => (512 * self.roll(1 << 15)).to_be_bytes().to_vec(),
            4 => vec![[0, 0xff][self.roll(2) as usize]; 1 + self.roll(8) as usize],
            _ => (self.roll(u64::MAX) >> self.roll(64)).to_le_bytes().to_vec(),
        };
        // Numbers are aligned.
        (if bytes.len() > 1 { at / bytes.len() as u64 * bytes.len() as u64 } else { at }, bytes)
    }
}

#[test]
fn no_mutation_makes_it_panic() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for base in bases(folder.path()) {
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let mut image = fs::read(&base.path).unwrap();
        for _ in 0..MUTATIONS_IN_MEMORY {
            let mut originals = Vec::new();
            for _ in 0..=dice.roll(4) {
                let (at, bytes) = dice.mutation(&base);
                let place = at as usize..at as usize + bytes.len();
                originals.push((place.clone(), image[place.clone()].to_vec()));
                image[place].copy_from_slice(&bytes);
            }
            refused += u64::from(Header::parse(&image).refusal().is_some());
            for (place, bytes) in originals.into_iter().rev() {
                image[place].copy_from_slice(&bytes);
            }
        }
        assert_eq!(Header::parse(&image).refusal(), None);
    }
    eprintln!("{refused} mutated images were refused");
}

#[test]
fn what_is_taken_does_no_harm() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let asked = std::env::var("TRANSIENT_MUTATIONS").ok().and_then(|number| number.parse().ok());
    let (mut taken, mut surprises) = (0, Vec::new());
    for base in bases(folder.path()) {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let path = folder.path().join("mutated");
        for round in 0..asked.unwrap_or(MUTATIONS) {
            fs::copy(&base.path, &path).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let changes: Vec<_> = (0..=dice.roll(2)).map(|_| dice.mutation(&base)).collect();
            changes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
            let what = format!("{} round {round}, {changes:?}", base.path.display());
            let header = Header::inspect(&file, &CancelToken::new()).unwrap();
            if header.refusal().is_none() {
                taken += 1;
                surprises.extend(judge(&path, &header, &what));
            }
        }
    }
    eprintln!("{taken} mutated images were taken");
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

/// Looks at an image that was taken with QEMU's eyes; returns what is not as it should be.
fn judge(path: &Path, header: &Header, what: &str) -> Option<String> {
    let format = header.format.name();
    let info = match info(path, format) {
        Ok(info) => info,
        Err(words) => {
            let known = LEFT_TO_QEMU.iter().any(|(of, part, _)| *of == format && words.contains(part));
            return (!known).then(|| format!("{format} refused by QEMU alone, {what}: {words}"));
        }
    };
    if info[0]["virtual-size"].as_u64() != Some(header.virtual_size) {
        return Some(format!("{format} of another size, {what}: {}, {info}", header.virtual_size));
    }
    let others = info.as_array().unwrap().len() > 1 || info.to_string().contains("data-file\":");
    if others || info[0].get("backing-filename").is_some() {
        return Some(format!("{format} names another file, {what}: {info}"));
    }
    // It may fail, but not die. Where the disk is huge, so is the time to look at it.
    if header.virtual_size <= 1 << 30 {
        let arguments = ["convert", "-f", format, "-O", "qcow2"].map(OsStr::new);
        let target = path.with_extension("converted");
        let output = qemu_img(arguments.into_iter().chain([path.as_os_str(), target.as_os_str()]));
        if output.status.code().is_none() {
            return Some(format!("{format} kills qemu-img, {what}: {:?}", output.status));
        }
    }
    None
}
