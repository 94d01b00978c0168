//! Decompression of streams: all members of a file, one after the other.

use std::io::{self, BufRead, Read};

use crate::image::header::Compression;

/// The largest window that zstd can be told to use, as `zstd --long=31` does.
const ZSTD_WINDOW_LOG: u32 = 31;

/// Returns the decompressed stream.
pub(crate) fn decompress<'a>(
    source: impl BufRead + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}
