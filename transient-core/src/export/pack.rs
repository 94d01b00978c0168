//! Compressing a file as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::{CancelToken, Error};

/// How much is compressed at a time, and how often a cancel is looked for.
const CHUNK: usize = 1 << 20;
/// The levels that the programs of these names use by themselves.
const GZIP_LEVEL: u32 = 6;
const XZ_PRESET: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// Returns what a file's name asks for.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Writes what `source` holds into a new file. `progress` is given the bytes that are done.
    pub(super) fn pack(
        self,
        source: &Path,
        destination: &Path,
        progress: &mut dyn FnMut(u64),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let failed = |error| Error::io(format!("cannot write '{}'", destination.display()), error);
        let source = File::open(source).map_err(failed)?;
        let target = File::create_new(destination).map_err(failed)?;
        let done = match self {
            Self::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = flate2::write::GzEncoder::new(target, level);
                pump(source, &mut encoder, progress, cancel)?.and_then(|()| encoder.finish().map(drop))
            }
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new_stream(target, xz_stream().map_err(failed)?);
                pump(source, &mut encoder, progress, cancel)?.and_then(|()| encoder.finish().map(drop))
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(target, ZSTD_LEVEL).map_err(failed)?;
                encoder.include_checksum(true).map_err(failed)?;
                pump(source, &mut encoder, progress, cancel)?.and_then(|()| encoder.finish().map(drop))
            }
        };
        done.map_err(failed)
    }
}

/// On all cores: it is by far the slowest.
fn xz_stream() -> io::Result<liblzma::stream::Stream> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = liblzma::stream::MtStreamBuilder::new();
    builder.threads(u32::try_from(threads).unwrap_or(1)).preset(XZ_PRESET);
    builder.check(liblzma::stream::Check::Crc64);
    Ok(builder.encoder()?)
}

/// Fails with a cancel alone; what the files fail with is inside.
fn pump(
    mut source: File,
    encoder: &mut impl Write,
    progress: &mut dyn FnMut(u64),
    cancel: &CancelToken,
) -> Result<io::Result<()>, Error> {
    let (mut buffer, mut done) = (vec![0; CHUNK], 0);
    loop {
        cancel.check()?;
        match source.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(length) => {
                if let Err(error) = encoder.write_all(&buffer[..length]) {
                    return Ok(Err(error));
                }
                done += length as u64;
                progress(done);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}
