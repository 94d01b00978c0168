//! What is mounted below a directory, as the kernel tells it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// Where it is mounted.
    pub(super) target: PathBuf,
    /// Its kind, as `mount -t` takes it.
    pub(super) kind: String,
    /// What of the filesystem is mounted, a path in it.
    pub(super) root: PathBuf,
}

impl Mounted {
    /// Whether it is a filesystem of the disk, and not one of the kernel's own.
    pub(super) fn is_on_disk(&self) -> bool {
        !["tmpfs", "devtmpfs", "devpts", "proc", "sysfs", "mqueue"].contains(&self.kind.as_str())
    }
}

/// Returns what is mounted at `top` and below it, in the order in which it was mounted.
pub(super) fn below(top: &Path) -> io::Result<Vec<Mounted>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(parse(&text).into_iter().filter(|mounted| mounted.target.starts_with(top)).collect())
}

/// Tells whether a filesystem is mounted at exactly `target`.
pub(super) fn is_mounted(target: &Path) -> io::Result<bool> {
    Ok(below(target)?.iter().any(|mounted| mounted.target == target))
}

/// Reads the lines of `/proc/self/mountinfo`; a line that is not understood is left out.
fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|&byte| byte == b' ');
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    let root = path(fields.nth(3)?);
    let target = path(fields.next()?);
    // Optional fields end with a lone hyphen; the kind of the filesystem comes next.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mounted { target, kind: String::from_utf8_lossy(kind).into_owned(), root })
}

/// Undoes the `\040` by which mount tables and fstab write blanks.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        if let [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..] = rest {
            bytes.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = b"1 1 0:2 / / rw - rootfs none rw\n\
            31 1 254:2 / /image rw,relatime shared:5 master:2 - ext4 /dev/vda2 rw,discard\n\
            32 31 0:30 /@home /image/a\\040b rw - btrfs /dev/vda3 rw\nbroken\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1], Mounted { target: "/image".into(), kind: "ext4".into(), root: "/".into() });
        assert_eq!(
            found[2],
            Mounted { target: "/image/a b".into(), kind: "btrfs".into(), root: "/@home".into() }
        );
    }

    #[test]
    fn only_whole_octal_escapes_are_undone() {
        assert_eq!(unescape(br"a\040b\134\0\9\04"), br"a b\\0\9\04");
        assert_eq!(unescape(br"\377"), [0xff]);
        assert_eq!(unescape(br"\477"), br"\477");
    }
}
