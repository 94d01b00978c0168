//! Bulk data to the guest: frames over the data port.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use transient_guest::protocol::{FRAME_ABORT, FRAME_END, FRAME_MAX};

const HEADER: usize = 4;

/// Takes a stream of bytes and sends it in frames; [`FrameWriter::finish`] or [`FrameWriter::abort`] ends it.
#[derive(Debug)]
pub(crate) struct FrameWriter<'a> {
    port: &'a UnixStream,
    /// A frame's header, to be filled in, and its bytes so far.
    frame: Vec<u8>,
    broken: bool,
}

impl<'a> FrameWriter<'a> {
    pub(crate) fn new(port: &'a UnixStream) -> Self {
        let mut frame = Vec::with_capacity(HEADER + FRAME_MAX as usize);
        frame.extend_from_slice(&[0; HEADER]);
        Self { port, frame, broken: false }
    }

    /// Returns whether the port failed, so that an error is not the source's.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends what is left, and the end.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.send_frame()?;
        self.send(&FRAME_END.to_le_bytes())
    }

    /// Tells the guest that no more comes, and that it is not all.
    pub(crate) fn abort(&mut self) -> io::Result<()> {
        self.send(&FRAME_ABORT.to_le_bytes())
    }

    fn send_frame(&mut self) -> io::Result<()> {
        let length = self.frame.len() - HEADER;
        if length == 0 {
            return Ok(());
        }
        // No more than FRAME_MAX bytes are ever taken.
        let header = u32::try_from(length).unwrap_or(FRAME_MAX).to_le_bytes();
        self.frame[..HEADER].copy_from_slice(&header);
        let frame = std::mem::take(&mut self.frame);
        let sent = self.send(&frame);
        self.frame = frame;
        self.frame.truncate(HEADER);
        sent
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut port = self.port;
        port.write_all(bytes).inspect_err(|_| self.broken = true)
    }
}

impl Write for FrameWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = HEADER + FRAME_MAX as usize - self.frame.len();
        let taken = bytes.len().min(room);
        self.frame.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.send_frame()?;
        }
        Ok(taken)
    }

    /// Sends nothing: frames go when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn sent(send: impl FnOnce(&mut FrameWriter<'_>)) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).map(|_| bytes)
        });
        send(&mut FrameWriter::new(&ours));
        drop(ours);
        reading.join().expect("no panic").expect("read")
    }

    #[test]
    fn a_stream_ends_with_an_empty_frame() {
        let bytes = sent(|writer| {
            writer.write_all(b"ab").expect("written");
            writer.write_all(b"c").expect("written");
            writer.finish().expect("sent");
        });
        assert_eq!(bytes, [&[3, 0, 0, 0][..], b"abc", &[0, 0, 0, 0]].concat());
    }

    #[test]
    fn a_long_stream_goes_in_full_frames() {
        let long = vec![7; FRAME_MAX as usize + 1];
        let bytes = sent(|writer| {
            writer.write_all(&long).expect("written");
            writer.finish().expect("sent");
        });
        let first = HEADER + FRAME_MAX as usize;
        assert_eq!(bytes[..HEADER], FRAME_MAX.to_le_bytes());
        assert_eq!(bytes[first..], [1, 0, 0, 0, 7, 0, 0, 0, 0]);
    }

    #[test]
    fn an_aborted_stream_says_so() {
        let bytes = sent(|writer| {
            writer.write_all(b"half").expect("written");
            writer.abort().expect("sent");
        });
        assert_eq!(bytes, FRAME_ABORT.to_le_bytes());
    }

    #[test]
    fn a_port_that_is_gone_is_told_from_a_source_that_fails() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(theirs);
        let mut writer = FrameWriter::new(&ours);
        writer.write_all(b"x").expect("kept");
        assert!(!writer.is_broken());
        writer.finish().expect_err("nobody reads");
        assert!(writer.is_broken());
    }
}
