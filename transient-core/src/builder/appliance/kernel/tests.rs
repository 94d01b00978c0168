use std::io::Write;

use super::*;

/// A minimal ELF file with one note segment.
fn elf_with_note(kind: u32) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    elf[16..20].copy_from_slice(&[2, 0, 62, 0]);
    elf[20] = 1;
    elf[32] = 64; // the program headers' offset
    elf[52] = 64; // this header's size
    elf[54] = 56; // the size of a program header
    elf[56] = 1; // their number
    elf[58] = 64; // the size of a section header
    let mut program = Vec::new();
    program.extend(4u32.to_le_bytes()); // PT_NOTE
    program.extend(4u32.to_le_bytes());
    for value in [120u64, 0, 0, 20, 20, 4] {
        program.extend(value.to_le_bytes());
    }
    elf.extend(program);
    for value in [4u32, 4, kind] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(b"Xen\0\x00\x00\x10\x00");
    elf.extend(b"Linux version 6.1.0-test (builder) #1");
    elf.extend([0; 64]);
    elf
}

/// A bzImage with two setup sectors and this payload.
pub(in crate::builder::appliance) fn bz_image(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 3 * 512];
    image[0x1f1] = 2;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x200u16.to_le_bytes());
    image[0x400..0x400 + 22].copy_from_slice(b"6.1.0-test (x@y) #1 SM");
    image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image.extend([0xcc; 16]);
    image.extend(payload);
    image.extend([0xdd; 100]);
    image
}

fn with_size(mut packed: Vec<u8>, kernel: &[u8]) -> Vec<u8> {
    packed.extend(u32::try_from(kernel.len()).unwrap().to_le_bytes());
    packed
}

fn lz4(kernel: &[u8]) -> Vec<u8> {
    let mut packed = LZ4_LEGACY.to_vec();
    for block in kernel.chunks(100) {
        let block = lz4_flex::block::compress(block);
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
    }
    packed
}

fn gzip(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(kernel).unwrap();
    encoder.finish().unwrap()
}

fn xz(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(kernel).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(kernel).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_compression_is_unpacked() {
    let kernel = elf_with_note(PVH_ENTRY);
    let packed =
        [lz4(&kernel), gzip(&kernel), xz(&kernel), bzip2(&kernel), zstd::encode_all(&*kernel, 1).unwrap()];
    for (index, packed) in packed.into_iter().enumerate() {
        let payload = if index == 1 { packed } else { with_size(packed, &kernel) };
        let read = read(bz_image(&payload)).unwrap();
        assert_eq!((read.boot, read.release.as_str()), (BootProtocol::Pvh, "6.1.0-test"), "{index}");
        assert_eq!(read.bytes, kernel, "{index}");
    }
}

#[test]
fn a_kernel_without_pvh_stays_a_bz_image() {
    let kernel = elf_with_note(PVH_ENTRY + 1);
    let image = bz_image(&with_size(lz4(&kernel), &kernel));
    let read = read(image.clone()).unwrap();
    assert_eq!((read.boot, read.bytes), (BootProtocol::Linux, image));
}

#[test]
fn an_elf_kernel_is_taken_as_it_is() {
    let kernel = elf_with_note(PVH_ENTRY);
    let read = read(kernel.clone()).unwrap();
    assert_eq!((read.boot, read.release.as_str(), read.bytes), (BootProtocol::Pvh, "6.1.0-test", kernel));
}

#[test]
fn other_files_are_refused() {
    for file in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
        assert!(read(file.to_vec()).is_err(), "{file:?}");
    }
}

#[test]
fn no_broken_kernel_panics() {
    let kernel = elf_with_note(PVH_ENTRY);
    let image = bz_image(&with_size(lz4(&kernel), &kernel));
    for end in 0..image.len() {
        let _ = read(image[..end].to_vec());
    }
    for at in 0..image.len() {
        let mut broken = image.clone();
        broken[at] = 0xff;
        let _ = read(broken);
    }
}

#[test]
fn a_release_that_would_leave_its_folder_is_refused() {
    let mut image = bz_image(b"");
    image[0x400..0x408].copy_from_slice(b"../../x ");
    assert_eq!(release(&image), None);
}
