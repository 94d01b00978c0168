//! "Did you mean": the known word that a misspelt one is closest to.

/// Returns the candidate that `word` is most likely a misspelling of, in any case.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    // A long text is no misspelling, and the distance takes quadratic time.
    let length = word.chars().count();
    if length == 0 || length > 32 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(length.max(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many slips are likely in a word of this length.
fn tolerance(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    }
}

/// Returns the help for a word that is not one of the known ones.
pub(crate) fn help(word: &str, what: &str, candidates: &[&str]) -> String {
    let list = candidates.join(", ");
    match closest(word, candidates.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::closest;

    const KEYWORDS: [&str; 4] = ["FROM", "PARTITION", "RUN", "ADD"];

    #[test]
    fn slips_of_the_finger_are_seen_through() {
        assert_eq!(closest("FORM", KEYWORDS), Some("FROM"));
        assert_eq!(closest("partiton", KEYWORDS), Some("PARTITION"));
        assert_eq!(closest("RUNN", KEYWORDS), Some("RUN"));
    }

    #[test]
    fn another_word_is_left_alone() {
        assert_eq!(closest("ENV", KEYWORDS), None);
        assert_eq!(closest("", KEYWORDS), None);
        assert_eq!(closest(&"x".repeat(100_000), KEYWORDS), None);
    }
}
