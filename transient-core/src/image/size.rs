//! Sizes as people read and write them.

use crate::{Error, ErrorKind};

/// Returns a size with two decimals and a binary unit, for example `1.05 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.2} {unit}")
}

/// Reads a size such as `512MiB` or `4G`; units are binary, and no unit is bytes.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`] when it is none.
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let invalid = || Error::new(ErrorKind::InvalidArgument, format!("'{text}' is no size"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    number.checked_mul(1 << shift).ok_or_else(invalid)
}
