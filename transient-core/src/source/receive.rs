//! Taking bytes in as a stream: what was compressed is unpacked while it comes.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::intake::{Intake, Origin};
use super::sparse::SparseFile;
use super::{Place, decompress, vagrant};
use crate::image::Checksum;
use crate::image::header::Compression;
use crate::{Error, ErrorKind, store};

/// As many bytes as tell one compression from another.
pub(super) const MAGIC: usize = 16;
/// How much is unpacked at a time, and how often a cancel is looked for.
const CHUNK: usize = 1 << 20;

/// What an origin holds, once it is decompressed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contents {
    /// A disk image.
    Disk,
    /// An archive with a disk image in it.
    VagrantBox,
}

/// A disk image that came in.
#[derive(Debug)]
pub(super) struct Received {
    /// A file of the folder.
    pub(super) path: PathBuf,
    /// How the origin was compressed.
    pub(super) compression: Option<Compression>,
    /// What the origin was compared with.
    pub(super) checksum: Option<Checksum>,
}

/// Writes the disk image that comes in to a file of the folder.
pub(super) fn receive(origin: Origin, contents: Contents, place: &Place<'_>) -> Result<Received, Error> {
    let checksum = origin.checksum.clone();
    let mut intake = Intake::new(origin, place);
    let unpacked = unpack(&mut intake, contents, place);
    if let Some(failure) = intake.failure() {
        return Err(failure);
    }
    match &unpacked {
        // It may be another file than was meant: the checksum is then the better explanation.
        Err(error) if error.kind() != ErrorKind::InvalidImage || !intake.is_checked() => {}
        _ => intake.finish()?,
    }
    unpacked.map(|(path, compression)| Received { path, compression, checksum })
}

fn unpack(
    intake: &mut Intake<'_>,
    contents: Contents,
    place: &Place<'_>,
) -> Result<(PathBuf, Option<Compression>), Error> {
    let named = intake.named().to_owned();
    let damaged = |error: io::Error| {
        let message = format!("the image file '{named}' cannot be decompressed");
        Error::new(ErrorKind::InvalidImage, message)
            .caused_by(error)
            .hint("it is damaged or cut short; get it again")
    };
    let (plain, compression) = plain(BufReader::with_capacity(CHUNK, intake)).map_err(damaged)?;
    let path = match contents {
        Contents::Disk => {
            let path = place.folder.join("unpacked");
            write(plain, &path, &damaged, place)?;
            path
        }
        Contents::VagrantBox => vagrant::extract_disk(BufReader::with_capacity(CHUNK, plain), &named, place)?,
    };
    Ok((path, compression))
}

/// What a stream holds, and how that was compressed.
type Decompressed<'a> = (Box<dyn Read + Send + 'a>, Option<Compression>);

/// Returns the stream, decompressed if it needs to be.
fn plain<'a>(mut source: impl BufRead + Send + 'a) -> io::Result<Decompressed<'a>> {
    let mut start = Vec::new();
    source.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let whole = io::Cursor::new(start).chain(source);
    let plain = match compression {
        Some(compression) => decompress(whole, compression)?,
        None => Box::new(whole),
    };
    Ok((plain, compression))
}

fn write(
    mut stream: impl Read,
    path: &Path,
    damaged: &dyn Fn(io::Error) -> Error,
    place: &Place<'_>,
) -> Result<(), Error> {
    let cannot_write = |error| cannot_write(path, error);
    let mut target = SparseFile::create(path).map_err(cannot_write)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        place.cancel.check()?;
        let length = fill(&mut stream, &mut chunk).map_err(damaged)?;
        if length == 0 {
            break;
        }
        target.append(&chunk[..length]).map_err(cannot_write)?;
    }
    target.finish().map_err(cannot_write)
}

pub(super) fn cannot_write(path: &Path, error: io::Error) -> Error {
    store::failure("cannot write", path, error)
}

/// Reads until the buffer is full or the stream ends.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
