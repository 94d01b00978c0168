//! No bytes make the reader of image headers panic, or take long.
//!
//! Formats have their tables far apart, so the input is a list of pieces: each a place of three bytes, a length
//! of two, and the bytes that stand there in an image of at most 4 MiB. All else is zero.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transient_core::image::header::Header;

const LARGEST: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let _ = Header::parse(input);
    let header = Header::parse(&image(input));
    assert_eq!(header.refusal().is_some(), header.hint().is_some());
});

fn image(mut input: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    while let Some(([a, b, c, d, e], rest)) = input.split_first_chunk() {
        let place = u32::from_le_bytes([*a, *b, *c, 0]) as usize % LARGEST;
        let (piece, rest) = rest.split_at(rest.len().min(u16::from_le_bytes([*d, *e]).into()));
        let piece = &piece[..piece.len().min(LARGEST - place)];
        image.resize(image.len().max(place + piece.len()), 0);
        image[place..place + piece.len()].copy_from_slice(piece);
        input = rest;
    }
    image
}
