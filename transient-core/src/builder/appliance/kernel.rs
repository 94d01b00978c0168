//! Kernels: what is in a bzImage, and whether QEMU can start it directly.

use std::io::{self, Read};

use goblin::elf::Elf;

use super::BootProtocol;

/// No kernel is larger when it is unpacked; more is a broken or hostile file.
const MAX_SIZE: u64 = 1 << 30;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the PVH entry point.
const PVH_ENTRY: u32 = 18;
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// The size to which a block of a legacy LZ4 frame unpacks at most.
const LZ4_BLOCK: usize = 8 << 20;

/// A kernel as it goes into the appliance.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) boot: BootProtocol,
    pub(super) bytes: Vec<u8>,
}

/// Reads a bzImage or an ELF kernel. The error says what is wrong with the file.
pub(super) fn read(file: Vec<u8>) -> Result<Kernel, String> {
    if file.starts_with(goblin::elf::header::ELFMAG) {
        if !has_pvh_entry(&file) {
            return Err("is an ELF kernel without a PVH entry point, which QEMU cannot start".into());
        }
        let release = release_in_banner(&file).ok_or("is an ELF file, but no Linux kernel")?;
        return Ok(Kernel { release, boot: BootProtocol::Pvh, bytes: file });
    }
    let image = BzImage::parse(&file)?;
    let release = image.release().ok_or("is a bzImage that does not tell its release")?;
    match image.payload().map(unpack) {
        Some(Ok(bytes)) if has_pvh_entry(&bytes) => Ok(Kernel { release, boot: BootProtocol::Pvh, bytes }),
        other => {
            if let Some(Err(error)) = other {
                tracing::debug!(%error, "the kernel is not unpacked, and started as a bzImage");
            }
            Ok(Kernel { release, boot: BootProtocol::Linux, bytes: file })
        }
    }
}

/// Returns the release in a bzImage's first sectors, without unpacking it.
pub(super) fn release(file: &[u8]) -> Option<String> {
    BzImage::parse(file).ok()?.release()
}

/// The x86 boot header, see `Documentation/arch/x86/boot.rst` of the kernel.
struct BzImage<'a> {
    file: &'a [u8],
}

impl<'a> BzImage<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, String> {
        if file.get(0x202..0x206) != Some(b"HdrS".as_slice()) {
            return Err("is no Linux kernel (neither a bzImage nor an ELF file)".into());
        }
        Ok(Self { file })
    }

    fn u16(&self, at: usize) -> Option<usize> {
        let bytes = self.file.get(at..at.checked_add(2)?)?;
        Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    }

    fn u32(&self, at: usize) -> Option<usize> {
        little_endian_u32(self.file, at)
    }

    fn release(&self) -> Option<String> {
        let text = self.file.get(self.u16(0x20e)?.checked_add(0x200)?..)?;
        first_word(text)
    }

    /// Protocol 2.08 and newer tell where the compressed kernel lies.
    fn payload(&self) -> Option<&'a [u8]> {
        if self.u16(0x206)? < 0x208 {
            return None;
        }
        // For compatibility, 0 stands for 4.
        let setup_sectors = match *self.file.get(0x1f1)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let start = ((setup_sectors + 1) * 512).checked_add(self.u32(0x248)?)?;
        self.file.get(start..start.checked_add(self.u32(0x24c)?)?)
    }
}

fn little_endian_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().take(256).position(|byte| matches!(byte, 0 | b' ' | b'\n'))?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    // It becomes part of a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    (!word.is_empty() && !word.starts_with('.') && word.chars().all(plain)).then(|| word.to_owned())
}

fn release_in_banner(kernel: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let mut banners = kernel.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER);
    banners.find_map(|(at, _)| first_word(&kernel[at + BANNER.len()..]))
}

fn has_pvh_entry(kernel: &[u8]) -> bool {
    let Ok(elf) = Elf::parse(kernel) else { return false };
    let Some(mut notes) = elf.iter_note_headers(kernel) else { return false };
    notes.any(|note| {
        note.is_ok_and(|note| note.n_type == PVH_ENTRY && note.name.trim_end_matches('\0') == "Xen")
    })
}

/// Unpacks a bzImage's payload, whose last four bytes are the size of what comes out.
fn unpack(payload: &[u8]) -> io::Result<Vec<u8>> {
    let size = payload.len().checked_sub(4).and_then(|at| little_endian_u32(payload, at));
    match payload {
        [0x1f, 0x8b, ..] => read_all(flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => read_all(liblzma::read::XzDecoder::new(payload)),
        [0x5d, 0, 0, ..] => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(1 << 30).map_err(io::Error::other)?;
            read_all(liblzma::read::XzDecoder::new_stream(payload, stream))
        }
        [b'B', b'Z', b'h', ..] => read_all(bzip2::read::BzDecoder::new(payload)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => read_all(zstd::Decoder::new(payload)?.single_frame()),
        [b'\x7f', b'E', b'L', b'F', ..] => Ok(payload.to_vec()),
        payload if payload.starts_with(&LZ4_LEGACY) => unpack_lz4(&payload[4..], size.unwrap_or(0)),
        _ => Err(io::Error::other("the kernel is compressed in an unknown way")),
    }
}

fn read_all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_SIZE) {
        return Err(io::Error::other("the kernel unpacks to more than 1 GiB"));
    }
    Ok(bytes)
}

fn unpack_lz4(mut blocks: &[u8], size: usize) -> io::Result<Vec<u8>> {
    if u64::try_from(size).is_ok_and(|size| size > MAX_SIZE) {
        return Err(io::Error::other("the kernel says that it is larger than 1 GiB"));
    }
    let mut kernel = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while kernel.len() < size {
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let length = little_endian_u32(blocks, 0).ok_or_else(short)?;
        let (packed, rest) = blocks[4..].split_at_checked(length).ok_or_else(short)?;
        let unpacked = lz4_flex::block::decompress_into(packed, &mut block).map_err(io::Error::other)?;
        if unpacked == 0 {
            return Err(short());
        }
        kernel.extend_from_slice(&block[..unpacked]);
        blocks = rest;
    }
    Ok(kernel)
}

#[cfg(test)]
pub(super) mod tests;
