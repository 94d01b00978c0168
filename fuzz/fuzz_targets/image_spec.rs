//! What a spec displays as is the same spec, and a name survives its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transient_core::{ImageName, ImageSpec};

fuzz_target!(|text: &str| {
    let Ok(spec) = text.parse::<ImageSpec>() else { return };
    assert_eq!(spec.to_string().parse::<ImageSpec>().ok().as_ref(), Some(&spec));
    if !spec.name.as_str().starts_with('.') {
        assert_eq!(ImageName::from_encoded(spec.name.encoded().as_ref()), Some(spec.name));
    }
});
