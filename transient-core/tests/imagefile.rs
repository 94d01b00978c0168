//! The corpus of Imagefiles, and properties that hold for all texts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use transient_core::imagefile::{Imagefile, instruction, lines, render};

/// Each good file, its instructions in their usual form, and as data.
#[test]
fn good_files() {
    each_file("good", |name, bytes| {
        let imagefile = Imagefile::parse(name, bytes).unwrap_or_else(|error| panic!("{}", error.report()));
        let mut text = String::new();
        for (instruction, span) in imagefile.instructions() {
            let data = serde_json::to_string(instruction).unwrap();
            writeln!(text, "{}: {instruction}\n   {data}", imagefile.line(*span)).unwrap();
        }
        text
    });
}

/// Each bad file, and what a person sees.
#[test]
fn bad_files() {
    each_file("bad", |name, bytes| {
        let error = Imagefile::parse(name, bytes).expect_err(name);
        assert_eq!(error.kind(), transient_core::ErrorKind::InvalidImagefile);
        error.report()
    });
}

fn each_file(folder: &str, shown: impl Fn(&str, &[u8]) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imagefiles").join(folder);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder.with_extension("expected"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = shown(name, &std::fs::read(&path).unwrap());
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Imagefile::load("/nonexistent/Imagefile").unwrap_err();
    insta::assert_snapshot!(error.report(), @r"
    there is no Imagefile at '/nonexistent/Imagefile'
    hint: `--file` (or the option `file`) names another one
    ");
    assert!(Imagefile::load("/").is_err());
}

/// Texts made of what Imagefiles are made of.
fn imagefile_like() -> impl Strategy<Value = String> {
    let words = [
        "FROM",
        "scratch",
        "DISK",
        "PARTITION",
        "SIZE",
        "FORMAT",
        "OPTIONS",
        "MOUNT",
        "FLAGS",
        "COPY",
        "ADD",
        "run",
        "INSPECT",
        "2",
        "1",
        "300",
        "GB",
        "MiB",
        "GPT",
        "MBR",
        "ext4",
        "swap",
        "vfat",
        "/",
        "/boot",
        "boot",
        "efi",
        "bios_grub",
        ",",
        "\"-m 0\"",
        "'a b'",
        "it's",
        "x,file=y",
        "#",
        "\\",
        "\\ ",
        "\"",
        " ",
        " ",
        " ",
        "\t",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "\n# c\n",
        "ü",
        "\0",
        "..",
        "a\\ b",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

/// Lines of which many are right.
fn instruction_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "FROM [a-z/:\"' ,#=\\\\]{1,12}",
        "FROM x,(file|http|vagrant)=[a-z/:' ]{1,8}",
        "DISK [0-9]{1,3} ?([MGT]i?[Bb]) (GPT|mbr)",
        "PARTITION [0-9]{1,3}( SIZE [1-9]{1,3} ?[MGT]i?B)?( FORMAT (ext4|XFS|swap))?( OPTIONS \"[-a-z '\\\\#]{0,9}\")?( MOUNT [/a-z.' #]{1,9})?( FLAGS (boot|efi|bios_grub)( ?, ?boot)?)?",
        "(COPY|add) [a-z'\"#\\\\ ./ü]{1,20}",
        "RUN[ /][a-z'\"#\\\\ ]{0,20}(\\\\\n[a-z #\\\\]{0,9})?",
        Just("INSPECT".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = Imagefile::parse("f", &bytes) {
            prop_assert!(!error.diagnostics().is_empty());
            render(error.diagnostics(), true);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in imagefile_like()) {
        match Imagefile::parse("f", text.as_bytes()) {
            Ok(imagefile) => prop_assert!(!imagefile.instructions().is_empty()),
            Err(error) => {
                prop_assert!(!error.diagnostics().is_empty());
                for diagnostic in error.diagnostics() {
                    prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
                    prop_assert!(!diagnostic.message.contains('\n'));
                }
                render(error.diagnostics(), false);
            }
        }
    }

    #[test]
    fn what_is_displayed_parses_to_the_same(text in instruction_like()) {
        for line in lines(&text) {
            let Ok(parsed) = instruction(&text, &line) else { continue };
            let displayed = parsed.to_string();
            let again = lines(&displayed);
            prop_assert_eq!(again.len(), 1, "{}", &displayed);
            prop_assert_eq!(instruction(&displayed, &again[0]), Ok(parsed), "{}", &displayed);
        }
    }
}
