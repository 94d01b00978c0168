//! The header that is checked in is the one that the sources give.

use std::fs;
use std::path::Path;

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../include/transient.h");

fn generated() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("a configuration");
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(folder)
        .generate()
        .expect("the sources are understood")
        .write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

/// `make header` sets the variable and so makes the header anew.
#[test]
fn the_header_is_up_to_date() {
    let generated = generated();
    if std::env::var_os("TRANSIENT_WRITE_HEADER").is_some() {
        fs::write(HEADER, &generated).expect("the header is written");
    }
    let header = fs::read_to_string(HEADER).expect("a header");
    assert!(header == generated, "include/transient.h is not what the sources give: run `make header`");
}

#[test]
fn every_name_has_our_prefix_and_every_function_a_comment() {
    let header = generated();
    let lines: Vec<&str> = header.lines().collect();
    let mut functions = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some((before, _)) = line.split_once('(') else { continue };
        if line.starts_with("//")
            || line.starts_with(' ')
            || line.starts_with("typedef")
            || line.starts_with('#')
        {
            continue;
        }
        functions += 1;
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        assert!(name.starts_with("transient_"), "{line}");
        assert!(lines[index - 1].starts_with("//"), "{name} has no comment");
    }
    assert!(functions > 90, "{functions}");
    for line in lines.iter().filter(|line| line.starts_with("#define")) {
        assert!(line.starts_with("#define TRANSIENT_"), "{line}");
    }
    for word in header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let constant = word.len() > 4 && word.contains('_') && word == word.to_ascii_uppercase();
        assert!(
            !constant
                || word.starts_with("TRANSIENT_")
                || ["XDG_", "SSL_", "SSH_", "VAGRANT_", "ATLAS_"]
                    .iter()
                    .any(|variable| word.starts_with(variable))
                || word == "__STDC_VERSION__",
            "{word}"
        );
    }
}
