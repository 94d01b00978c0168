//! Decompressing a file as a stream, into a file with holes where there are only zeros.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::decompress;
use crate::event::Reporter;
use crate::image::header::Compression;
use crate::{CancelToken, Error, ErrorKind, Event};

/// How much is decompressed at a time, and how often a cancel is looked for.
const CHUNK: usize = 1 << 20;
/// The size of the smallest hole, that of a qcow2 cluster.
const HOLE: usize = 64 << 10;

/// Decompresses `source`, which the user knows as `path`, into the new file `destination`.
pub(super) fn unpack(
    source: &File,
    compression: Compression,
    path: &Path,
    destination: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let cannot_write = |error| Error::io(format!("cannot write '{}'", destination.display()), error);
    let damaged = |error: io::Error| {
        let message = format!("the image file '{}' cannot be decompressed", path.display());
        Error::new(ErrorKind::InvalidImage, message)
            .caused_by(error)
            .hint("it is damaged or cut short; get it again")
    };
    let task = format!("Decompressing {}", path.display());
    let total = source.metadata().ok().map(|metadata| metadata.len());
    let done = AtomicU64::new(0);
    let counted = BufReader::with_capacity(CHUNK, Counted { source, count: &done });
    let mut stream = decompress(counted, compression).map_err(damaged)?;
    let mut target = SparseFile { file: File::create_new(destination).map_err(cannot_write)?, length: 0 };
    let mut chunk = vec![0; CHUNK];
    loop {
        cancel.check()?;
        let length = fill(&mut stream, &mut chunk).map_err(damaged)?;
        if length == 0 {
            break;
        }
        target.append(&chunk[..length]).map_err(cannot_write)?;
        reporter.progress(&task, done.load(Relaxed), total);
    }
    target.finish().map_err(cannot_write)?;
    reporter.send_blocking(Event::Progress { task, done: done.load(Relaxed), total, finished: true });
    Ok(())
}

/// Reads until the buffer is full or the stream ends.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
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

/// Counts what is read from a file.
struct Counted<'a> {
    source: &'a File,
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // By position: the file's own offset may be shared.
        let length = self.source.read_at(buffer, self.count.load(Relaxed))?;
        self.count.fetch_add(length as u64, Relaxed);
        Ok(length)
    }
}

/// A file that is written from front to back.
struct SparseFile {
    file: File,
    length: u64,
}

impl SparseFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        for part in data.chunks(HOLE) {
            if !is_zero(part) {
                self.file.write_all_at(part, self.length)?;
            }
            self.length += part.len() as u64;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        // There may be a hole at the end.
        self.file.set_len(self.length)
    }
}

fn is_zero(data: &[u8]) -> bool {
    // A comparison of slices is one fast call, also without optimisation.
    const ZEROS: [u8; 4096] = [0; 4096];
    data.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}
