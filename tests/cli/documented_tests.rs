//! The tests that tables of the documentation name: each must exist.
//!
//! A table names a test as `module::function`, the module being a file or its folder, or the file first and then its
//! functions.

use std::fs;
use std::path::Path;

const SOURCES: [&str; 4] = ["tests/cli", "transient-core", "transient-guest", "transient-ffi"];

#[test]
fn every_test_that_a_table_names_exists() {
    let tests = all_tests();
    for (page, fewest) in [("docs/faults.md", 60), ("docs/security.md", 60)] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let named = named(&text);
        assert!(named.len() > fewest, "{page} names only {} tests", named.len());
        let is_missing = |name: &&(String, String)| !tests.iter().any(|test| is(test, name));
        let missing: Vec<_> = named.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "there are no such tests, which {page} names: {missing:#?}");
    }
}

/// Returns the places and names of the tests that stand in the last column of the tables that have one of that name.
fn named(text: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        let Some((_, cell)) = line.strip_suffix(" |").and_then(|line| line.rsplit_once(" | ")) else {
            wanted = false;
            continue;
        };
        if cell == "test" {
            wanted = true;
        } else if wanted && !cell.starts_with("---") {
            let before = named.len();
            named.extend(in_cell(cell));
            assert!(named.len() > before, "this line names no test: {line}");
        }
    }
    named
}

fn in_cell(cell: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    let mut file = "";
    for word in cell.split('`').skip(1).step_by(2) {
        match word.split_once("::") {
            Some((module, function)) => named.push((module.to_owned(), function.to_owned())),
            None if word.ends_with(".rs") => file = word,
            None => named.push((file.to_owned(), word.to_owned())),
        }
    }
    named
}

/// Whether a test, by its file and name, is the one that is named.
fn is((file, function): &(String, String), (place, name): &(String, String)) -> bool {
    let in_place = file == place || file.split('/').any(|part| part.trim_end_matches(".rs") == place);
    in_place && function == name
}

fn all_tests() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root).unwrap().to_str().unwrap();
                let tests = tests_in(&fs::read_to_string(&path).unwrap());
                found.extend(tests.into_iter().map(|test| (file.to_owned(), test)));
            }
        }
    }
    found
}

/// Returns the functions that are marked as tests.
fn tests_in(text: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        match function.and_then(|rest| rest.split('(').next()) {
            Some(name) if marked => {
                tests.push(name.to_owned());
                marked = false;
            }
            // Between the mark and the function there may be more attributes and comments.
            _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => marked = true,
            _ => marked &= line.starts_with("#[") || line.starts_with("//"),
        }
    }
    tests
}
