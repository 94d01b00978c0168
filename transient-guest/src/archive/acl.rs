//! POSIX access control lists, from the text that archives hold to the bytes that the kernel takes.

/// The version of the kernel's format.
const VERSION: u32 = 2;
/// The qualifier of an entry that names nobody.
const NOBODY: u32 = u32::MAX;

/// Returns the kernel's form of a list such as `user::rw-,user:joe:r--:1000,group::r--,mask::r--,other::---`.
///
/// `None` when it names a user or group without its number, or is not understood.
pub(super) fn encode(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries = Vec::new();
    for line in text.split([',', '\n']) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            entries.push(entry(line)?);
        }
    }
    if entries.is_empty() {
        return None;
    }
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, number, permissions) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    Some(bytes)
}

fn entry(line: &str) -> Option<(u16, u32, u16)> {
    let mut fields = line.split(':');
    let (kind, who, permissions) = (fields.next()?, fields.next()?, fields.next()?);
    let mut number = || fields.next().unwrap_or(who).parse().ok();
    let (tag, number) = match (kind, who) {
        ("user" | "u", "") => (0x01, NOBODY),
        ("user" | "u", _) => (0x02, number()?),
        ("group" | "g", "") => (0x04, NOBODY),
        ("group" | "g", _) => (0x08, number()?),
        ("mask" | "m", "") => (0x10, NOBODY),
        ("other" | "o", "") => (0x20, NOBODY),
        _ => return None,
    };
    let mut bits = 0;
    for letter in permissions.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some((tag, number, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_numbered() {
        let bytes = encode(b"user::rw-,user:joe:r--:1000,other::---,group::r--,mask::r-x").unwrap();
        assert_eq!(bytes.len(), 4 + 5 * 8);
        assert_eq!(&bytes[4..12], [1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(&bytes[12..20], [2, 0, 4, 0, 0xe8, 3, 0, 0]);
        assert_eq!(&bytes[36..44], [0x20, 0, 0, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn a_name_without_a_number_is_not_guessed() {
        assert_eq!(encode(b"user:joe:rwx"), None);
        assert!(encode(b"user:7:rwx").is_some());
        assert_eq!(encode(b"nonsense"), None);
        assert_eq!(encode(b""), None);
    }
}
