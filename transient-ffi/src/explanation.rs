//! Why steps of a build are carried out, as C sees it.

use std::ffi::{CString, c_char};

use transient_core::{Difference, DifferenceKind};

use crate::text::{address, c_string};

/// What a `transient_difference` is of. Later releases may add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_difference_kind {
    /// One that this header does not have.
    Other = 0,
    /// The text of an instruction, in its usual form.
    Instruction = 1,
    /// The content of the image that the build is FROM.
    BaseImage = 2,
    /// The appliance, which has the kernel and all programs that make filesystems.
    Appliance = 3,
    /// Whether RUN reaches a network.
    Network = 4,
    /// Whether there is such a file.
    Existence = 5,
    /// The type: `file`, `directory`, `link` or `special`.
    FileType = 6,
    /// The mode of a file, in octal digits.
    Mode = 7,
    /// The bytes of a file.
    Content = 8,
    /// Where a link leads.
    LinkTarget = 9,
}

/// Something that is not as in the last build of the same image.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_difference {
    /// What differs, a `transient_difference_kind`.
    pub kind: u32,
    /// The file that it is about, from the build directory; NULL when it is about no file.
    pub path: *const c_char,
    /// How it was: an instruction, a mode, a type, or a digest, never contents. NULL when it was not there.
    pub before: *const c_char,
    /// How it is now; NULL when it is not there any more.
    pub now: *const c_char,
    /// The same in words, in one line.
    pub message: *const c_char,
}

/// Why steps are carried out and not taken from the cache: what the first of them is made of, compared with the last
/// build of the same image. Only when it is asked for: `transient_build_options_set_explain`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_explanation {
    /// The first step that is carried out, counted from 1; 0 when all are in the cache.
    pub step: usize,
    /// Why, in one sentence.
    pub reason: *const c_char,
    /// What differs, or the first of it. Digests, never contents.
    pub differences: *const transient_difference,
    /// How many `differences` has.
    pub differences_len: usize,
    /// How many differences there are besides.
    pub more: usize,
}

/// Returns the differences for C; their texts are kept in `strings`.
pub(crate) fn translate(differences: &[Difference], strings: &mut Vec<CString>) -> Vec<transient_difference> {
    let mut keep = |text: &str| {
        strings.push(c_string(text));
        address(strings.last())
    };
    let mut optional = |text: &Option<String>| text.as_deref().map_or(std::ptr::null(), &mut keep);
    differences
        .iter()
        .map(|difference| transient_difference {
            kind: kind(difference.kind) as u32,
            path: optional(&difference.path),
            before: optional(&difference.before),
            now: optional(&difference.now),
            message: optional(&Some(difference.message.clone())),
        })
        .collect()
}

fn kind(kind: DifferenceKind) -> transient_difference_kind {
    match kind {
        DifferenceKind::Instruction => transient_difference_kind::Instruction,
        DifferenceKind::BaseImage => transient_difference_kind::BaseImage,
        DifferenceKind::Appliance => transient_difference_kind::Appliance,
        DifferenceKind::Network => transient_difference_kind::Network,
        DifferenceKind::Existence => transient_difference_kind::Existence,
        DifferenceKind::FileType => transient_difference_kind::FileType,
        DifferenceKind::Mode => transient_difference_kind::Mode,
        DifferenceKind::Content => transient_difference_kind::Content,
        DifferenceKind::LinkTarget => transient_difference_kind::LinkTarget,
        _ => transient_difference_kind::Other,
    }
}
