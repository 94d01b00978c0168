//! Sizes for people.

use crate::{Error, ErrorKind};

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Returns a size in binary units with two decimals.
///
/// ```
/// assert_eq!(transient_core::image::format_bytes(40 << 30), "40.00 GiB");
/// ```
pub fn format_bytes(bytes: u64) -> String {
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    let unit = UNITS.get(power as usize).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let value = bytes as f64 / f64::from(2_u32.pow(5)).powi(2 * power as i32);
    format!("{value:.2} {unit}")
}

/// Reads a size as options take it: plain bytes, or a whole number with a unit, all of them binary (`512M`,
/// `2 GB`, `2GiB`), in any case.
///
/// ```
/// assert_eq!(transient_core::image::parse_bytes("2G")?, 2 << 30);
/// # Ok::<(), transient_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`].
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let shift = unit_shift(unit.trim_start());
    let invalid = |why| {
        Error::new(ErrorKind::InvalidArgument, format!("'{text}' is no size: {why}"))
            .hint("a size is a whole number of bytes, or one with a unit, such as 512M or 2GiB")
    };
    let Some(shift) = shift else { return Err(invalid("its unit is unknown")) };
    if number.is_empty() {
        return Err(invalid("it has no number"));
    }
    let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    value.ok_or_else(|| invalid("it is too large"))
}

fn unit_shift(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(0);
    }
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter)?;
    matches!(rest, "" | "b" | "ib").then_some(10 * (u32::try_from(power).ok()? + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_with_two_decimals() {
        for (bytes, expected) in [
            (0, "0.00 B"),
            (1023, "1023.00 B"),
            (1024, "1.00 KiB"),
            (104_532_541, "99.69 MiB"),
            (40 << 30, "40.00 GiB"),
            (3 << 39, "1.50 TiB"),
            (u64::MAX, "16.00 EiB"),
        ] {
            assert_eq!(format_bytes(bytes), expected);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("2G", 2 << 30),
            ("512MiB", 512 << 20),
            (" 1 kb ", 1024),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_sizes() {
        for text in
            ["", "G", "1.5G", "-1", "2X", "2GG", "99999999999999999999", "18446744073709551615K", "2é"]
        {
            assert_eq!(parse_bytes(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }
}
