//! Copies between this host and a guest that runs: `tar` at both ends of an SSH channel.

use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::sync::mpsc;

use super::machine::Machine;
use super::share::quoted;
use super::ssh::Input;
use crate::copy::{Source, Target};
use crate::event::{Event, Reporter, Stream};
use crate::progress::Progress;
use crate::{Error, ErrorKind};

/// How many bytes go at a time, and how many of such pieces may wait.
const PIECE: usize = 256 * 1024;
const PIECES_WAITING: usize = 8;
/// How much of what `tar` says is kept.
const WORDS_MAX: usize = 4096;

pub(super) async fn copy_in(
    machine: &Machine,
    source: &Path,
    destination: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let found = Source::find(source)?;
    let command = unpack_command(source, destination)?;
    let (pieces, input) = mpsc::channel(PIECES_WAITING);
    let total = found.total_size();
    let mut progress = Progress::new(reporter, format!("Copying {}", source.display()), Some(total));
    let last = progress.clone();
    let sending = tokio::task::spawn_blocking(move || {
        let mut output = io::BufWriter::with_capacity(PIECE, PieceWriter(pieces));
        let told = found.send(&mut output, &mut |length| progress.add(length))?;
        output.flush().map_err(|error| Error::io("cannot send to the guest", error))?;
        Ok::<_, Error>(told)
    });
    let ran = run(machine, &command, Input::Keys(input), async |_: &[u8]| {}).await;
    let sent = sending.await.map_err(|_| fault())?;
    // What went wrong here explains what `tar` says there, unless the guest wants no more.
    let told = match (ran, sent) {
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(sent)) if sent.kind() == ErrorKind::Io => return Err(error),
        (_, sent) => sent?,
    };
    for message in told {
        reporter.send(Event::Note { message }).await;
    }
    last.finish(total).await;
    Ok(())
}

pub(super) async fn copy_out(
    machine: &Machine,
    source: &Path,
    destination: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let target = Target::find(source, destination, false)?;
    let command = pack_command(source)?;
    let (pieces, output) = mpsc::channel(PIECES_WAITING);
    let mut progress = Progress::new(reporter, format!("Copying {}", source.display()), None);
    let last = progress.clone();
    let receiving = tokio::task::spawn_blocking(move || {
        let mut stream = PieceReader { pieces: output, piece: Vec::new(), used: 0 };
        let received = target.receive(&mut stream, &mut |length| progress.add(length));
        // What follows the end of an archive is filling.
        while stream.fill_buf().is_ok_and(|rest| !rest.is_empty()) {
            let rest = stream.piece.len();
            stream.used = rest;
        }
        received
    });
    let pass_on = async |data: &[u8]| drop(pieces.send(data.to_vec()).await);
    let ran = run(machine, &command, Input::Bytes(Vec::new()), pass_on).await;
    drop(pieces);
    let received = receiving.await.map_err(|_| fault())?;
    // `tar` says best what it could not read.
    ran?;
    let (done, told) = received?;
    for message in told {
        reporter.send(Event::Note { message }).await;
    }
    last.finish(done).await;
    Ok(())
}

fn fault() -> Error {
    Error::new(ErrorKind::Internal, "a copy stopped by a fault of the library")
}

/// Runs a command in the guest that must succeed.
async fn run(
    machine: &Machine,
    command: &str,
    input: Input,
    mut output: impl AsyncFnMut(&[u8]),
) -> Result<(), Error> {
    let mut words = Vec::new();
    let running = async {
        let connection = machine.connection().await?;
        let each = async |stream, data: &[u8]| match stream {
            Stream::Stdout => output(data).await,
            Stream::Stderr if words.len() < WORDS_MAX => words.extend_from_slice(data),
            Stream::Stderr => {}
        };
        connection.run(Some(command), input, None, each).await
    };
    let status = machine.guard(running).await?;
    if status == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::CommandFailed, format!("the guest's tar ended with status {status}"))
        .with_exit_status(status)
        .with_output(String::from_utf8_lossy(&words).trim()))
}

/// Unpacks what comes, below a folder that is there, or else under the new name.
fn unpack_command(source: &Path, destination: &Path) -> Result<String, Error> {
    let place = quoted(text(destination)?);
    let unpack = "tar -x -p -o -f - -C";
    let Some(name) = name_of(source) else { return Ok(format!("mkdir -p {place} && {unpack} {place}")) };
    let name = quoted(text(name)?);
    Ok(format!(
        "set -e; d={place}; if [ -d \"$d\" ]; then exec {unpack} \"$d\"; fi; \
         t=$(mktemp -d \"$(dirname -- \"$d\")/.transient.XXXXXX\"); trap 'rm -rf \"$t\"' EXIT; \
         {unpack} \"$t\"; mv -f -- \"$t\"/{name} \"$d\""
    ))
}

/// Packs a file or folder of the guest, under its own name.
fn pack_command(source: &Path) -> Result<String, Error> {
    let (folder, name) = match name_of(source) {
        Some(name) => (source.parent().unwrap_or(Path::new("/")), name),
        None => (source, Path::new(".")),
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok(format!("tar -c -f - -C {} {}", quoted(text(folder)?), quoted(&format!("./{}", text(name)?))))
}

/// Returns the name under which a path is packed; none for what is in a folder, which `/.` means.
fn name_of(path: &Path) -> Option<&Path> {
    let bytes = path.as_os_str().as_bytes();
    let contents = bytes == b"." || bytes.ends_with(b"/.") || bytes.ends_with(b"/./");
    path.file_name().filter(|_| !contents).map(Path::new)
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("'{}' is no UTF-8", path.display()))
            .hint("copy the folder that it is in")
    })
}

/// Sends what is written, in pieces.
struct PieceWriter(mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what comes in pieces.
struct PieceReader {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used == self.piece.len() {
            match self.pieces.blocking_recv() {
                Some(piece) => (self.piece, self.used) = (piece, 0),
                None => return Ok(&[]),
            }
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_folder_has_no_name() {
        for (path, name) in
            [("/a/b", Some("b")), ("/a/b/", Some("b")), ("/a/b/.", None), (".", None), ("/", None)]
        {
            assert_eq!(name_of(Path::new(path)), name.map(Path::new), "{path}");
        }
    }
}
