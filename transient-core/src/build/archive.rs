//! ADD: telling archives from other files, by their content.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use crate::image::header::Compression;
use crate::source::decompress;
use crate::{Error, ErrorKind};

/// How much of the file is read at a time.
const CHUNK: usize = 1 << 18;
/// The size of a tar header, in which the magic is (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: usize = 512;
const MAGIC: &[u8] = b"ustar";
const MAGIC_AT: usize = 257;
/// Where an old tar header has its checksum, which is octal digits.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Names that promise an archive.
const SUFFIXES: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst"];

/// Returns the plain tar stream of an archive, compressed or not; `None` when the file is no archive.
///
/// `progress` is told how many bytes of the file were read.
pub(super) fn open(
    mut file: File,
    name: &Path,
    progress: Box<dyn FnMut(u64) + Send>,
) -> Result<Option<Box<dyn Read + Send>>, Error> {
    let broken = |error| {
        Error::new(ErrorKind::InvalidSource, format!("cannot read the archive '{}'", name.display()))
            .caused_by(error)
    };
    let head = read_head(&mut file).map_err(broken)?;
    file.rewind().map_err(broken)?;
    let found = Compression::detect(&head);
    let mut stream = plain(Counted { file, progress }, found).map_err(broken)?;
    let first = match read_block(&mut stream) {
        Ok(first) => first,
        Err(_) if !promises_archive(name) => return Ok(None),
        Err(error) => return Err(broken(error)),
    };
    if is_tar(&first) {
        return Ok(Some(Box::new(io::Cursor::new(first).chain(stream))));
    }
    if promises_archive(name) {
        return Err(Error::new(
            ErrorKind::InvalidSource,
            format!("'{}' is no tar archive, though its name says so", name.display()),
        )
        .hint("COPY copies a file as it is"));
    }
    Ok(None)
}

fn plain(file: Counted, compression: Option<Compression>) -> io::Result<Box<dyn Read + Send>> {
    let file = BufReader::with_capacity(CHUNK, file);
    match compression {
        Some(compression) => decompress(file, compression),
        None => Ok(Box::new(file)),
    }
}

fn read_head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(BLOCK);
    file.take(BLOCK as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn read_block(stream: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    stream.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn promises_archive(name: &Path) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// An archive begins with a header that has the magic or, before POSIX, the right checksum; an empty
/// one with zeros.
fn is_tar(block: &[u8]) -> bool {
    if block.len() < BLOCK {
        return false;
    }
    block[MAGIC_AT..].starts_with(MAGIC) || block.iter().all(|byte| *byte == 0) || has_checksum(block)
}

fn has_checksum(block: &[u8]) -> bool {
    let digits: String = block[CHECKSUM].iter().map(|byte| char::from(*byte)).collect();
    let Ok(stated) = u32::from_str_radix(digits.trim_matches([' ', '\0']), 8) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if CHECKSUM.contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    stated == sum
}

/// A file that tells how much of it was read.
struct Counted {
    file: File,
    progress: Box<dyn FnMut(u64) + Send>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        (self.progress)(length as u64);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        builder.append_data(&mut header, "file", &b"x"[..]).expect("added");
        builder.into_inner().expect("finished")
    }

    fn opened(name: &str, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file.rewind().expect("rewound");
        let stream = open(file, Path::new(name), Box::new(|_| ()))?;
        Ok(stream.map(|mut stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("read");
            bytes
        }))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("finished")
    }

    #[test]
    fn an_archive_is_known_by_its_content() {
        assert_eq!(opened("x.tar", &tar()).expect("opened"), Some(tar()));
        assert_eq!(opened("release", &gzip(&tar())).expect("opened"), Some(tar()));
        assert_eq!(
            opened("x.tar.zst", &zstd::encode_all(&tar()[..], 1).expect("packed")).expect("opened"),
            Some(tar())
        );
    }

    #[test]
    fn a_compressed_file_that_is_no_archive_stays_as_it_is() {
        assert_eq!(opened("notes.gz", &gzip(b"some notes")).expect("looked at"), None);
        assert_eq!(opened("short", b"x").expect("looked at"), None);
        assert_eq!(opened("bad.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]).expect("looked at"), None);
    }

    #[test]
    fn a_compressed_archive_that_was_cut_short_is_an_error() {
        use std::io::Cursor;
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&tar()).expect("written");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&tar()).expect("written");
        let zstd = zstd::encode_all(Cursor::new(tar()), 1).expect("packed");
        let all = [gzip(&tar()), bzip2.finish().expect("finished"), xz.finish().expect("finished"), zstd];
        for whole in all {
            for length in (1..10).map(|tenth| tenth * whole.len() / 10).chain([whole.len() - 1]) {
                let mut file = tempfile::tempfile().expect("a file");
                file.write_all(&whole[..length]).expect("written");
                let read = open(file, Path::new("cut.tar.x"), Box::new(|_| ())).map(|stream| match stream {
                    Some(mut stream) => stream.read_to_end(&mut Vec::new()).is_err(),
                    // Too little is left to tell what it is.
                    None => length < 32 || Compression::detect(&whole[..length]).is_some(),
                });
                assert!(read.unwrap_or(true), "{length} of {}: {:?}", whole.len(), &whole[..4]);
            }
        }
    }

    #[test]
    fn a_name_that_lies_is_told() {
        let error = opened("rootfs.tar.gz", b"<html>not found</html>").expect_err("no archive");
        assert!(error.to_string().contains("is no tar archive"), "{error}");
    }
}
