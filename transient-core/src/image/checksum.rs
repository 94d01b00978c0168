//! Checksums of what is brought in.

use std::fmt;

use sha2::digest::DynDigest;

use super::spec::invalid;
use crate::{Error, ErrorKind};

/// What the bytes of a source must add up to, as they are before anything is unpacked.
///
/// ```
/// use transient_core::image::ImageSpec;
///
/// let spec: ImageSpec = format!("alpine,http=https://example.com/alpine.img,sha256={:064x}", 7).parse()?;
/// let checksum = spec.checksum.expect("the spec has one");
/// assert_eq!((checksum.algorithm(), checksum.digest().len()), ("sha256", 64));
/// # Ok::<(), transient_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    digest: String,
}

/// The algorithms that vagrant boxes use. What a person writes must be one of [`Algorithm::WRITTEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];
    /// Those of which nobody can make another file with the same digest.
    const WRITTEN: [Self; 2] = [Self::Sha256, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hasher(self) -> Box<dyn DynDigest + Send> {
        match self {
            Self::Md5 => Box::new(md5::Md5::default()),
            Self::Sha1 => Box::new(sha1::Sha1::default()),
            Self::Sha256 => Box::new(sha2::Sha256::default()),
            Self::Sha384 => Box::new(sha2::Sha384::default()),
            Self::Sha512 => Box::new(sha2::Sha512::default()),
        }
    }

    fn find(among: &[Self], name: &str) -> Option<Self> {
        among.iter().copied().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

impl Checksum {
    /// Reads what `sha256sum` prints for a file: 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidArgument`].
    pub fn sha256(digest: &str) -> Result<Self, Error> {
        Self::new(Algorithm::Sha256, digest).map_err(|error| {
            let hints = error.hints().to_vec();
            let argument = Error::new(ErrorKind::InvalidArgument, error.to_string());
            hints.into_iter().fold(argument, Error::hint)
        })
    }

    /// Reads the checksum of a vagrant box; the registry names the algorithm.
    pub(crate) fn of_box(algorithm: &str, digest: &str) -> Result<Self, Error> {
        match Algorithm::find(&Algorithm::ALL, algorithm) {
            Some(algorithm) => Self::new(algorithm, digest),
            None => Err(invalid(format!("checksums by '{algorithm}' are not known"))),
        }
    }

    /// Splits `,sha256=DIGEST` off the end of a source, which may have commas of its own.
    pub(super) fn split_off(source: &str) -> Result<(&str, Option<Self>), Error> {
        let Some((source, algorithm, digest)) = written(source) else { return Ok((source, None)) };
        Ok((source, Some(Self::new(algorithm, digest)?)))
    }

    fn new(algorithm: Algorithm, digest: &str) -> Result<Self, Error> {
        let name = algorithm.name();
        let digits = 2 * algorithm.hasher().output_size();
        let wrong = if digest.len() != digits {
            format!("it has {} digits, not {digits}", digest.len())
        } else if let Some(other) = digest.chars().find(|character| !character.is_ascii_hexdigit()) {
            format!("'{other}' is no hexadecimal digit")
        } else {
            return Ok(Self { algorithm, digest: digest.to_ascii_lowercase() });
        };
        let hint = format!("it is what `{name}sum` prints for the file, before it is unpacked");
        Err(invalid(format!("'{digest}' is no {name} checksum: {wrong}")).hint(hint))
    }

    /// Returns the name of the algorithm, for example `sha256`.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// Returns the digest, in lower-case hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns what computes the digest of other bytes.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher(self.algorithm.hasher())
    }
}

/// Finds a checksum at the end of a source. Something like `sha256=a/b` is no misspelt one, but a part of the source.
fn written(source: &str) -> Option<(&str, Algorithm, &str)> {
    let (before, last) = source.rsplit_once(',')?;
    let (name, digest) = last.split_once('=')?;
    let algorithm = Algorithm::find(&Algorithm::WRITTEN, name)?;
    digest.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some((before, algorithm, digest))
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.algorithm(), self.digest)
    }
}

/// Computes a digest while bytes pass by.
pub(crate) struct Hasher(Box<dyn DynDigest + Send>);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Returns the digest, in lower-case hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: [(&str, &str); 3] = [
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("SHA1", "A9993E364706816ABA3E25717850C26C9CD0D89D"),
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ];

    #[test]
    fn digests_are_those_that_everyone_computes() {
        for (algorithm, digest) in ABC {
            let checksum = Checksum::of_box(algorithm, digest).unwrap();
            let mut hasher = checksum.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish(), checksum.digest());
        }
    }

    #[test]
    fn only_what_ends_a_source_counts() {
        let digest = ABC[2].1;
        let split = |source: &str| {
            let (source, checksum) = Checksum::split_off(source).unwrap();
            (source.to_owned(), checksum.map(|checksum| checksum.to_string()))
        };
        let written = format!("sha256={digest}");
        assert_eq!(split("a"), ("a".into(), None));
        assert_eq!(split(&format!("a,b,{written}")), ("a,b".into(), Some(written.clone())));
        assert_eq!(
            split(&format!("a,SHA256={}", digest.to_uppercase())),
            ("a".into(), Some(written.clone()))
        );
        for source in ["a,sha256=x/y", "a,md5=900150983cd24fb0d6963f7d28e17f72", "sha256=abc", "a,b"] {
            assert_eq!(split(source), (source.into(), None));
        }
        let twice = format!("a,{written},{written}");
        assert_eq!(split(&twice), (format!("a,{written}"), Some(written)));
    }

    #[test]
    fn a_misspelt_digest_is_said() {
        for (source, words) in [
            ("a,sha256=12", "it has 2 digits, not 64"),
            ("a,sha512=", "it has 0 digits, not 128"),
            (&*format!("a,sha256={}", "g".repeat(64)), "'g' is no hexadecimal digit"),
        ] {
            let error = Checksum::split_off(source).unwrap_err();
            assert!(error.to_string().ends_with(words), "{error}");
        }
        assert!(Checksum::of_box("crc32", "00").is_err());
    }
}
