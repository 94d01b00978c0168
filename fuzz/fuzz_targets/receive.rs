//! No archive makes unpacking on the host panic, write outside of what was asked for, or leave a file in part.
#![no_main]

mod checksums;

use std::ffi::OsStr;
use std::fs;

use checksums::with_checksums;
use libfuzzer_sys::fuzz_target;
use transient_guest::inside;
use transient_guest::unpack::{Places, Site, unpack};

fuzz_target!(|input: &[u8]| {
    let input = with_checksums(input);
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("to");
    fs::create_dir(&to).expect("made");
    let root = inside::root(&to).expect("opened");
    // The seeds are archives of `.`, with these names in it.
    let (name, own) = (OsStr::new("file"), OsStr::new("copy"));
    let _ = unpack(&mut input.as_slice(), root, Places::only(name, own), Site::Host);
    let root = inside::root(&to).expect("opened");
    for entry in fs::read_dir(&to).expect("readable") {
        assert_eq!(entry.expect("an entry").file_name(), own);
    }
    let _ = unpack(&mut input.as_slice(), root, Places::top(), Site::Host);
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
});
