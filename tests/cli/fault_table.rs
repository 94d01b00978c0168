//! The table in `docs/faults.md` names tests: each must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Returns the names of all tests of a file, below its path.
fn tests_in(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let text = text.unwrap_or_else(|error| panic!("{file}, which docs/faults.md names: {error}"));
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
            Some(name) if marked => {
                tests.insert(name.to_owned());
            }
            _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => marked = true,
            // Between the mark and the function there may be more attributes and comments.
            _ if line.starts_with("#[") || line.starts_with("//") => continue,
            _ => {}
        }
        marked = marked && line.starts_with('#');
    }
    tests
}

#[test]
fn every_test_in_the_table_exists() {
    let table = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md")).unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).filter(|line| !line.starts_with("| ---")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if tests == "test" {
            continue;
        }
        let mut file = None;
        for word in tests.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = Some(word);
                continue;
            }
            let file = file.unwrap_or_else(|| panic!("no file comes before `{word}`: {row}"));
            assert!(tests_in(file).contains(word), "{file} has no test `{word}`");
            named += 1;
        }
        assert!(file.is_some(), "this row names no test: {row}");
    }
    assert!(named > 40, "only {named} tests are named");
}
