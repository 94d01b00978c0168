//! The tests that tables of the documentation name: `module::function`, the module being a file or its folder.

use std::fs;
use std::path::Path;

const TABLES: &[&str] = &["docs/security.md"];
const SOURCES: &[&str] = &["tests/cli", "transient-core", "transient-guest", "transient-ffi"];

#[test]
fn every_test_that_a_table_names_exists() {
    let sources = sources();
    let mut missing = Vec::new();
    for table in TABLES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(table)).unwrap();
        let named = named_tests(&text);
        assert!(named.len() > 10, "{table} names no tests");
        missing.extend(named.into_iter().filter(|name| !exists(name, &sources)));
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// What the last column of each line of a table has between backticks.
fn named_tests(text: &str) -> Vec<String> {
    let cells = text.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once(" | "));
    cells
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.contains("::"))
        .map(str::to_owned)
        .collect()
}

fn exists(name: &str, sources: &[(String, String)]) -> bool {
    let (module, function) = name.split_once("::").unwrap();
    let function = format!("fn {function}(");
    let is_in = |path: &str| path.split('/').any(|part| part.trim_end_matches(".rs") == module);
    sources.iter().any(|(path, text)| is_in(path) && text.contains(&function))
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}
