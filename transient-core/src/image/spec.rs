//! Image specs: `NAME` or `NAME,PROTO=SOURCE`, the latter with or without a checksum behind it.

use std::fmt;
use std::str::FromStr;

use super::{Checksum, ImageName};
use crate::{Error, ErrorKind, suggest};

/// What `FROM` names: an image, and where to get it if the backend lacks it.
///
/// ```
/// use transient_core::image::{ImageSpec, Protocol};
///
/// let spec: ImageSpec = "alpine,file=/tmp/alpine.qcow2.xz".parse()?;
/// assert_eq!(spec.name.as_str(), "alpine");
/// assert_eq!(spec.source, Some((Protocol::File, "/tmp/alpine.qcow2.xz".to_owned())));
/// # Ok::<(), transient_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The image's name in the backend.
    pub name: ImageName,
    /// Where it comes from, if the spec says so. A vagrant box has no leading `v` in its version.
    pub source: Option<(Protocol, String)>,
    /// What the bytes of the source must add up to, if the spec says so.
    pub checksum: Option<Checksum>,
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

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::File, Self::Http, Self::Vagrant];

    /// Returns the name, as in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Http => "http",
            Self::Vagrant => "vagrant",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        if name.eq_ignore_ascii_case("https") {
            return Ok(Self::Http);
        }
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let help = suggest::help(name, "the protocols are", &Self::ALL.map(Self::name));
            invalid(format!("Unknown image source protocol '{name}'")).hint(help)
        })
    }
}

impl FromStr for ImageSpec {
    type Err = Error;

    /// # Errors
    ///
    /// [`ErrorKind::InvalidImageName`], with what is known instead as a hint.
    fn from_str(spec: &str) -> Result<Self, Error> {
        // The name ends at the first comma, so it cannot hold one.
        let Some((name, origin)) = spec.split_once(',') else {
            return Ok(Self { name: ImageName::new(spec)?, source: None, checksum: None });
        };
        let name = ImageName::new(name)?;
        let (protocol, source) = origin.split_once('=').ok_or_else(|| {
            let help = "what follows the comma is PROTOCOL=SOURCE, as in `name,file=path`";
            invalid(format!("Invalid image spec '{spec}'")).hint(help)
        })?;
        let protocol = Protocol::parse(protocol)?;
        let (source, checksum) = Checksum::split_off(source)?;
        if source.is_empty() {
            let message = format!("Invalid image spec '{spec}': nothing follows `{}=`", protocol.name());
            return Err(invalid(message));
        }
        let source = match protocol {
            Protocol::Vagrant => vagrant_box(source)?,
            _ => source.to_owned(),
        };
        Ok(Self { name, source: Some((protocol, source)), checksum })
    }
}

/// `BOX` or `BOX:VERSION`; tags of boxes often have a `v` that the versions themselves lack.
fn vagrant_box(source: &str) -> Result<String, Error> {
    let Some((name, tag)) = source.split_once(':') else { return Ok(source.to_owned()) };
    let version = tag.strip_prefix('v').unwrap_or(tag);
    if name.is_empty() || version.is_empty() {
        return Err(invalid(format!("'{source}' names no vagrant box")).hint(
            "a vagrant source is BOX:VERSION, as in `generic/alpine38:v3.0.2`, or BOX for the newest",
        ));
    }
    Ok(format!("{name}:{version}"))
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidImageName, message)
}

impl fmt::Display for ImageSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name)?;
        match &self.source {
            // The first `v` of a version is dropped when it is read.
            Some((Protocol::Vagrant, source)) => match source.split_once(':') {
                Some((name, version)) if version.starts_with('v') => {
                    write!(formatter, ",vagrant={name}:v{version}")?;
                }
                _ => write!(formatter, ",vagrant={source}")?,
            },
            Some((protocol, source)) => write!(formatter, ",{}={source}", protocol.name())?,
            None => {}
        }
        match &self.checksum {
            Some(checksum) => write!(formatter, ",{checksum}"),
            None => Ok(()),
        }
    }
}

impl serde::Serialize for ImageSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> ImageSpec {
        spec.parse().unwrap()
    }

    #[test]
    fn specs_with_and_without_a_source() {
        assert_eq!(parse("centos/7:2004.01").source, None);
        assert_eq!(parse("a,FILE=b,c=d").source, Some((Protocol::File, "b,c=d".into())));
        assert_eq!(parse("a,https=https://x/").source, Some((Protocol::Http, "https://x/".into())));
        assert_eq!(parse("a,vagrant=b/c").source, Some((Protocol::Vagrant, "b/c".into())));
        assert_eq!(parse("a,vagrant=b/c:v1.2").source, Some((Protocol::Vagrant, "b/c:1.2".into())));
        assert_eq!(parse("a,vagrant=b:vv1").to_string(), "a,vagrant=b:vv1");
        assert_eq!(parse("a,vagrant=b::v").to_string(), "a,vagrant=b::v");
    }

    #[test]
    fn a_checksum_ends_a_spec() {
        let digest = "0123456789abcdef".repeat(4);
        for source in ["file=b,c", "http=https://x/a,b=c?d", "vagrant=b/c:1.2"] {
            let spec = parse(&format!("a,{source},SHA256={digest}"));
            assert_eq!(spec.checksum.as_ref().map(Checksum::digest), Some(&*digest));
            assert_eq!(spec.to_string(), format!("a,{source},sha256={digest}"));
        }
        assert_eq!(parse("a,http=http://x/b,sha256=c/d").checksum, None);
    }

    #[test]
    fn bad_specs() {
        for spec in [
            "",
            ",file=x",
            "a,",
            "a,b",
            "a,file=",
            "a,ftp=x",
            "a,vagrant=b:",
            "a,vagrant=:1",
            "a,sha256=0",
            "a,file=,sha256=0",
            "a,file=b,sha256=0",
        ] {
            let error = spec.parse::<ImageSpec>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImageName, "{spec}");
        }
    }

    #[test]
    fn a_misspelt_protocol_is_recognised() {
        let error = "a,flie=x".parse::<ImageSpec>().unwrap_err();
        assert_eq!(error.hints(), ["did you mean `file`? the protocols are: file, http, vagrant"]);
    }

    proptest::proptest! {
        #[test]
        fn display_is_undone(
            spec in "[a,=:v]{0,4}(,(file|http|vagrant)=)?[a-z:v,=]{0,8}(,(sha256=[0-9a-fA-F]{64}|sha512=[0-9a-f/]{128})){0,2}",
        ) {
            if let Ok(spec) = spec.parse::<ImageSpec>() {
                proptest::prop_assert_eq!(parse(&spec.to_string()), spec);
            }
        }
    }
}
