//! The frames in which a stream goes over the data port, either way.

use std::io::{self, BufRead, Read, Write};

use crate::protocol::{FRAME_ABORT, FRAME_END, FRAME_MAX};

/// How much is asked of the port at a time, in bytes.
const BUFFER: usize = 512 << 10;
const HEADER: usize = size_of::<u32>();

/// Reads what is in the frames of one stream; its end is [`FRAME_END`].
///
/// What comes after that is never asked for, so that the port can carry another stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    left_in_frame: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    /// Nothing more can be understood; the reason has been told.
    Broken,
}

impl<R: Read> FrameReader<R> {
    /// Reads a stream from its first frame on.
    pub fn new(source: R) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, left_in_frame: 0, state: State::Open }
    }

    /// Returns whether the stream broke off, or makes no sense.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Reads to the end of the stream, so that the sender is never left waiting.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.start = 0;
        self.end = 0;
        self.end = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        if self.end == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off"));
        }
        Ok(())
    }

    fn next_frame(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER];
        for byte in &mut header {
            if self.start == self.end {
                self.refill()?;
            }
            *byte = self.buffer[self.start];
            self.start += 1;
        }
        match u32::from_le_bytes(header) {
            FRAME_END => self.state = State::Ended,
            FRAME_ABORT => {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the sender gave up"));
            }
            length if length > FRAME_MAX => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
            }
            length => self.left_in_frame = length as usize,
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        if self.left_in_frame == 0 {
            self.next_frame()?;
        }
        if self.state == State::Open && self.start == self.end {
            self.refill()?;
        }
        Ok(())
    }
}

impl<R: Read> BufRead for FrameReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.state {
            State::Ended => return Ok(&[]),
            State::Broken => return Err(io::ErrorKind::ConnectionAborted.into()),
            State::Open => {}
        }
        if let Err(error) = self.advance() {
            self.state = State::Broken;
            return Err(error);
        }
        if self.state == State::Ended {
            return Ok(&[]);
        }
        let count = self.left_in_frame.min(self.end - self.start);
        Ok(&self.buffer[self.start..self.start + count])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.left_in_frame -= count;
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Takes a stream of bytes and sends it in frames; [`FrameWriter::finish`] or [`FrameWriter::abort`] ends it.
#[derive(Debug)]
pub struct FrameWriter<W> {
    port: W,
    /// A frame's header, to be filled in, and its bytes so far.
    frame: Vec<u8>,
    broken: bool,
}

impl<W: Write> FrameWriter<W> {
    /// Begins a stream.
    pub fn new(port: W) -> Self {
        let mut frame = Vec::with_capacity(HEADER + FRAME_MAX as usize);
        frame.extend_from_slice(&[0; HEADER]);
        Self { port, frame, broken: false }
    }

    /// Returns whether the port failed, so that an error is not the source's.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends what is left, and the end.
    pub fn finish(&mut self) -> io::Result<()> {
        self.send_frame()?;
        self.send(&FRAME_END.to_le_bytes())
    }

    /// Tells the other side that no more comes, and that it is not all.
    pub fn abort(&mut self) -> io::Result<()> {
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
        self.port.write_all(bytes).inspect_err(|_| self.broken = true)
    }
}

impl<W: Write> Write for FrameWriter<W> {
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
    use proptest::prelude::*;

    use super::*;

    /// A source that gives its bytes in pieces of a fixed size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn framed(pieces: &[Vec<u8>], end: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            bytes.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes.extend_from_slice(&end.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_joined(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            step in 1_usize..40,
        ) {
            let bytes = framed(&pieces, FRAME_END);
            let mut read = Vec::new();
            FrameReader::new(Pieces(&bytes, step)).read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, pieces.concat());
        }
    }

    #[test]
    fn an_abort_and_a_cut_are_errors_that_stay() {
        for (end, kind) in
            [(FRAME_ABORT, io::ErrorKind::ConnectionAborted), (FRAME_MAX + 1, io::ErrorKind::InvalidData)]
        {
            let bytes = framed(&[vec![1, 2, 3]], end);
            let mut reader = FrameReader::new(&bytes[..]);
            assert_eq!(reader.drain().unwrap_err().kind(), kind);
            assert!(reader.fill_buf().is_err());
        }
        let bytes = framed(&[vec![1, 2, 3]], FRAME_END);
        for length in 0..bytes.len() {
            let error = FrameReader::new(&bytes[..length]).drain().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }

    fn sent(send: impl FnOnce(&mut FrameWriter<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        send(&mut FrameWriter::new(&mut bytes));
        bytes
    }

    #[test]
    fn a_stream_ends_with_an_empty_frame() {
        let bytes = sent(|writer| {
            writer.write_all(b"ab").unwrap();
            writer.write_all(b"c").unwrap();
            writer.finish().unwrap();
        });
        assert_eq!(bytes, [&[3, 0, 0, 0][..], b"abc", &[0, 0, 0, 0]].concat());
    }

    #[test]
    fn a_long_stream_goes_in_full_frames() {
        let long = vec![7; FRAME_MAX as usize + 1];
        let bytes = sent(|writer| {
            writer.write_all(&long).unwrap();
            writer.finish().unwrap();
        });
        let first = HEADER + FRAME_MAX as usize;
        assert_eq!(bytes[..HEADER], FRAME_MAX.to_le_bytes());
        assert_eq!(bytes[first..], [1, 0, 0, 0, 7, 0, 0, 0, 0]);
        let mut read = Vec::new();
        FrameReader::new(&bytes[..]).read_to_end(&mut read).unwrap();
        assert!(read == long);
    }

    #[test]
    fn an_aborted_stream_says_so() {
        let bytes = sent(|writer| {
            writer.write_all(b"half").unwrap();
            writer.abort().unwrap();
        });
        assert_eq!(bytes, FRAME_ABORT.to_le_bytes());
        let mut reader = FrameReader::new(&bytes[..]);
        assert!(reader.drain().is_err() && reader.is_broken());
    }

    #[test]
    fn a_port_that_is_gone_is_told_from_a_source_that_fails() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        let mut writer = FrameWriter::new(&ours);
        writer.write_all(b"x").unwrap();
        assert!(!writer.is_broken());
        writer.finish().unwrap_err();
        assert!(writer.is_broken());
    }
}
