//! The order of versions of boxes, which is that of Ruby's gems.

use std::cmp::Ordering;

/// One part of a version. A word is less than any number: `1.0.beta` comes before `1.0`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Word(&'a str),
    Number(u128),
}

/// Compares two versions: `1.10` is newer than `1.9`, and the same as `1.10.0`.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (parts(one), parts(other));
    let length = one.len().max(other.len());
    one.resize_with(length, || Part::Number(0));
    other.resize_with(length, || Part::Number(0));
    one.cmp(&other)
}

/// Returns whether it is one that comes before a release.
pub(super) fn is_preview(version: &str) -> bool {
    parts(version).iter().any(|part| matches!(part, Part::Word(_)))
}

fn parts(version: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for mut rest in version.trim_start_matches('v').split(|c: char| !c.is_ascii_alphanumeric()) {
        while let Some(first) = rest.chars().next() {
            let same = |character: char| character.is_ascii_digit() == first.is_ascii_digit();
            let end = rest.find(|character| !same(character)).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            parts.push(part.parse().map_or(Part::Word(part), Part::Number));
            rest = after;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_is_greater() {
        let order = [
            "",
            "0.9",
            "1.0.alpha",
            "1.0.beta2",
            "1.0.beta10",
            "1.0",
            "1.0.1",
            "1.9",
            "1.10",
            "2004.01",
            "20240905.1",
        ];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        for (one, other) in [("1", "1.0.0"), ("v1.2", "1.2"), ("2004.01", "2004.1")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn words_make_a_preview() {
        assert!(is_preview("1.0.0-rc1"));
        assert!(!is_preview("v1.0.0"));
    }
}
