//! Reading the headers of disk images natively, without QEMU.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Qcow2,
    Raw,
}

impl Format {
    pub fn qemu_name(&self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

#[derive(Debug)]
pub struct Header {
    pub format: Format,
    pub virtual_size: u64,
    backing: bool,
}

impl Header {
    pub fn refusal(&self) -> Option<String> {
        self.backing.then(|| "it names a backing file".to_owned())
    }
}

pub fn read(file: &File) -> io::Result<Header> {
    let mut bytes = [0; 32];
    let length = file.metadata()?.len();
    if length < 32 {
        return Ok(Header { format: Format::Raw, virtual_size: length, backing: false });
    }
    file.read_exact_at(&mut bytes, 0)?;
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    if &bytes[..4] == b"QFI\xfb" {
        return Ok(Header { format: Format::Qcow2, virtual_size: word(24), backing: word(8) != 0 });
    }
    Ok(Header { format: Format::Raw, virtual_size: length, backing: false })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

pub fn compression(first_bytes: &[u8]) -> Option<Compression> {
    match first_bytes {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [b'B', b'Z', b'h', ..] => Some(Compression::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        _ => None,
    }
}
