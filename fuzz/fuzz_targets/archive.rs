//! No bytes make the reader of tar archives panic, hand out more than there is, or go on without end.
#![no_main]

mod checksums;

use checksums::with_checksums;
use libfuzzer_sys::fuzz_target;
use transient_guest::archive::{Archive, Kind};

fuzz_target!(|input: &[u8]| {
    let input = with_checksums(input);
    let mut archive = Archive::new(input.as_slice());
    // A member takes a block at least.
    for _ in 0..=input.len() / 512 {
        let Ok(Some(member)) = archive.next_member() else { return };
        if let Kind::File(Some(map)) = &member.kind {
            let ends = map.parts.iter().map(|(offset, length)| offset.checked_add(*length));
            assert!(ends.into_iter().all(|end| end.is_some_and(|end| end <= map.size)));
        }
        let mut handed_out = 0;
        while let Ok(piece) = archive.piece() {
            let length = piece.len();
            if length == 0 {
                break;
            }
            handed_out += length;
            archive.used(length);
        }
        assert!(handed_out <= input.len());
    }
    panic!("more members than blocks");
});
