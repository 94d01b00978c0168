//! No text makes the parser, the plan or the rendering of errors panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transient_core::{Imagefile, Plan};

fuzz_target!(|text: &[u8]| {
    match Imagefile::parse("Imagefile", text) {
        Ok(imagefile) => drop(Plan::new(&imagefile)),
        Err(error) => drop(error.report()),
    }
});
