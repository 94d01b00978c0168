//! No bytes make the reader of image headers panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transient_core::image::header::Header;

fuzz_target!(|image: &[u8]| {
    let _ = Header::parse(image);
});
