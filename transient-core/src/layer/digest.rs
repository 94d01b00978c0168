//! Digests of contents, and the keys of layers that are made of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

/// The BLAKE3 hash of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

/// What a layer is found by: the digest of everything that it comes from.
pub(crate) type Key = Digest;

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }

    /// Stands for no bytes at all, where there can be none.
    pub(crate) fn none() -> Self {
        Self([0; 32])
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("it is not in lower case");
        }
        blake3::Hash::from_hex(text).map(Self::from).map_err(|_| "it is no digest")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Makes a key of named parts: the same parts in the same order, and nothing else, make the same key.
#[derive(Debug)]
pub(crate) struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    /// `kind` tells what the key is of.
    pub(crate) fn new(kind: &str) -> Self {
        let mut maker = Self(blake3::Hasher::new_derive_key("transient 1 layer"));
        maker.part("kind", kind.as_bytes());
        maker
    }

    /// Adds a part. Lengths keep parts from running into each other.
    pub(crate) fn part(&mut self, name: &str, value: &[u8]) {
        for bytes in [name.as_bytes(), value] {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
    }

    pub(crate) fn finish(&self) -> Key {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(&str, &[u8])]) -> Key {
        let mut maker = KeyMaker::new("test");
        parts.iter().for_each(|(name, value)| maker.part(name, value));
        maker.finish()
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let keys = [
            key(&[("a", b"bc")]),
            key(&[("ab", b"c")]),
            key(&[("a", b"b"), ("c", b"")]),
            key(&[("a", b"b"), ("", b"c")]),
            key(&[]),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_ne!(KeyMaker::new("a").finish(), KeyMaker::new("b").finish());
        assert_eq!(key(&[("a", b"bc")]), keys[0]);
    }

    #[test]
    fn text_is_read_back() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "00", &digest.to_string().to_uppercase(), &format!("{digest}0")] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&digest).expect("text"), format!("\"{digest}\""));
    }
}
