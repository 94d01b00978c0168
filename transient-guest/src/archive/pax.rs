//! Extended headers (POSIX.1-2001 "pax"), whose values may hold any byte.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Broken, Result, broken};

/// The records of one header, in their order.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Reads the records `LENGTH KEY=VALUE\n`.
pub(super) fn parse(mut data: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let (record, rest) = split_record(data).ok_or_else(|| broken("an extended header is malformed"))?;
        let equals = record.iter().position(|&byte| byte == b'=');
        let equals = equals.ok_or_else(|| broken("a record of an extended header has no value"))?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = rest;
    }
    Ok(records)
}

/// Splits off the first record, without its length and its newline.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = data.iter().take(21).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..blank]).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

/// A point in time as pax writes it: seconds, with a fraction, also before the epoch.
pub(super) fn parse_time(value: &[u8]) -> Result<(i64, u32)> {
    time(value)
        .ok_or_else(|| Broken(format!("the time {:?} is not understood", String::from_utf8_lossy(value))))
}

fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Returns the extended attributes that records name; of one in several spellings, the first counts.
pub(super) fn attributes(records: &[Record]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.insert(name.to_vec(), value.clone());
        }
    }
    for (key, value) in records {
        let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") else { continue };
        let decoded = STANDARD.decode(value).or_else(|_| STANDARD_NO_PAD.decode(value));
        if let Ok(value) = decoded {
            found.entry(percent_decode(name)).or_insert(value);
        }
    }
    for (key, value) in records {
        let name: &[u8] = match key.as_slice() {
            b"SCHILY.acl.access" => b"system.posix_acl_access",
            b"SCHILY.acl.default" => b"system.posix_acl_default",
            b"RHT.security.selinux" => {
                let mut label = value.clone();
                label.push(0);
                found.entry(b"security.selinux".to_vec()).or_insert(label);
                continue;
            }
            _ => continue,
        };
        if let Some(value) = super::acl::encode(value) {
            found.entry(name.to_vec()).or_insert(value);
        }
    }
    found
}

/// Writes a record.
#[cfg(feature = "files")]
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    // It counts its own digits.
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Returns a point in time as [`parse_time`] reads it.
#[cfg(feature = "files")]
pub(crate) fn time_text(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (..0, 1..) => {
            format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
        }
        _ => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Returns key and value of the record of an extended attribute, as [`attributes`] reads it.
#[cfg(feature = "files")]
pub(crate) fn attribute(name: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // A key ends at its first `=`; only the other spelling can do without.
    if !name.contains(&b'=') {
        return ([b"SCHILY.xattr.", name].concat(), value.to_vec());
    }
    let mut key = b"LIBARCHIVE.xattr.".to_vec();
    for &byte in name {
        match byte {
            b'=' | b'%' => key.extend(format!("%{byte:02X}").bytes()),
            _ => key.push(byte),
        }
    }
    (key, STANDARD.encode(value).into_bytes())
}

fn percent_decode(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[2..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_survive(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5)) {
            let text: Vec<u8> = values.iter().flat_map(|value| record(b"path", value)).collect();
            let read: Vec<Vec<u8>> = parse(&text).unwrap().into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn times_and_attributes_survive(
            seconds in -5_000_000_000_i64..5_000_000_000,
            nanoseconds in 0_u32..1_000_000_000,
            name in prop::collection::vec(prop::sample::select(&b"ab%=. "[..]), 1..9),
            value in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            for (seconds, nanoseconds) in [(seconds, nanoseconds), (seconds, 0), (-1, nanoseconds), (0, nanoseconds)] {
                let text = time_text(seconds, nanoseconds);
                prop_assert_eq!(parse_time(text.as_bytes()).unwrap(), (seconds, nanoseconds), "{}", text);
            }
            let (key, encoded) = attribute(&name, &value);
            let found = attributes(&parse(&record(&key, &encoded)).unwrap());
            prop_assert_eq!(found, BTreeMap::from([(name, value)]));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
            let _ = parse_time(&bytes);
            let _ = percent_decode(&bytes);
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(parse_time(b"12.5").unwrap(), (12, 500_000_000));
        assert_eq!(parse_time(b"12.0123456789").unwrap(), (12, 12_345_678));
        assert_eq!(parse_time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(parse_time(b"-3").unwrap(), (-3, 0));
        assert!(parse_time(b"").is_err() && parse_time(b"1.x").is_err());
    }

    #[test]
    fn both_spellings_of_attributes_are_known() {
        let records = [
            (b"LIBARCHIVE.xattr.user.a%20b".to_vec(), b"AAH/".to_vec()),
            (b"LIBARCHIVE.xattr.user.c".to_vec(), b"AA".to_vec()),
            (b"SCHILY.xattr.user.c".to_vec(), b"\n\0x".to_vec()),
        ];
        let found = attributes(&records);
        assert_eq!(found[&b"user.a b"[..]], [0, 1, 255]);
        assert_eq!(found[&b"user.c"[..]], b"\n\0x");
    }
}
