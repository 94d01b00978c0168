//! Why an image is refused, and what its owner can do about it.

use std::io;

/// A reason, a fragment such as "it names a backing file (`x`)", and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) hint: &'static str,
}

impl Refusal {
    fn new(reason: impl Into<String>, hint: &'static str) -> Self {
        Self { reason: reason.into(), hint }
    }

    /// A part of the image is in another file.
    pub(super) fn incomplete(reason: impl Into<String>) -> Self {
        Self::new(reason, "only an image that is whole in itself is taken: make one with `qemu-img convert`")
    }

    /// What the image says of itself cannot be true.
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::new(reason, "it is damaged or cut short: get it again")
    }

    /// A program that had the image open did not close it.
    pub(super) fn unclean(reason: impl Into<String>) -> Self {
        Self::new(reason, "shut down what uses it, then repair it with `qemu-img check -r all`")
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            "its disk is larger than 64 TiB",
            "no disk of that size is taken; if it was not meant to be that large, get the image again",
        )
    }

    pub(super) fn encrypted(reason: impl Into<String>) -> Self {
        Self::new(reason, "write it without encryption, with `qemu-img convert` and its key")
    }

    /// Other programs may know more.
    pub(super) fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(reason, "convert it to a plain qcow2 image with the program that made it")
    }

    /// The content leaves it open what the image is.
    pub(super) fn ambiguous(reason: impl Into<String>) -> Self {
        Self::new(reason, "say which by converting it: `qemu-img convert -f FORMAT -O qcow2 IMAGE NEW`")
    }
}

/// What ends the reading of an image.
pub(super) enum Stop {
    Failed(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
