//! Image specs: `NAME` or `NAME,PROTO=SOURCE`.

use super::ImageName;

/// What `FROM` names: an image, and where to get it if the backend lacks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The image's name in the backend.
    pub name: ImageName,
    /// Where it comes from, if the spec says so.
    pub source: Option<(Protocol, String)>,
}

/// How an image is brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// A file of the host.
    File,
    /// A URL, http or https.
    Http,
    /// A vagrant box.
    Vagrant,
}
