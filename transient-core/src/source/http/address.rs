//! URLs, and what may be shown of them.

use std::fmt;

use reqwest::Url;

use crate::{Error, ErrorKind};

/// The URL of something to download. It is displayed without what may be secret: a password, a query.
#[derive(Clone)]
pub(in crate::source) struct Address(Url);

impl Address {
    pub(in crate::source) fn parse(url: &str) -> Result<Self, Error> {
        let refused = |reason: String| {
            Error::new(ErrorKind::SourceFailed, "the URL of the image cannot be used")
                .caused_by(reason)
                .hint("it begins with http:// or https://, for example https://example.com/disk.qcow2.xz")
        };
        // The URL itself is not repeated: it may have a password.
        let parsed = Url::parse(url.trim()).map_err(|error| refused(error.to_string()))?;
        match parsed.scheme() {
            "http" | "https" => Ok(Self(parsed)),
            other => Err(refused(format!("'{other}' is not supported"))),
        }
    }

    /// Resolves another URL, which may be relative to this one.
    pub(in crate::source) fn join(&self, url: &str) -> Result<Self, Error> {
        match self.0.join(url) {
            Ok(joined) => Self::parse(joined.as_str()),
            Err(_) => Self::parse(url),
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Returns whether both are on one server.
    pub(in crate::source) fn has_origin_of(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // These fail where there cannot be any.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        formatter.write_str(shown.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let address = Address::parse("https://user:secret@example.com/a,b.img?token=secret#secret").unwrap();
        assert_eq!(address.to_string(), "https://example.com/a,b.img");
        assert_eq!(format!("{address:?}"), "Address(https://example.com/a,b.img)");
        let error = Address::parse("https://user:secret@exa mple.com/").unwrap_err();
        assert!(!error.report().contains("secret"), "{}", error.report());
    }

    #[test]
    fn only_http_is_an_address() {
        for url in ["", "example.com/x", "ftp://example.com/x", "file:///etc/passwd", "/x"] {
            assert_eq!(Address::parse(url).unwrap_err().kind(), ErrorKind::SourceFailed, "{url}");
        }
    }
}
