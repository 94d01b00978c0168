//! `transient image check`

use std::path::{Path, PathBuf};

use transient_core::imagefile::Base;
use transient_core::{Error, ErrorKind, ImageCheck, ImageName, Store, check};

use crate::cli::{self, Format};
use crate::failure::Failure;
use crate::output::{self, Align, printable};

/// What is checked where nothing is named.
const IMAGEFILE: &str = "Imagefile";

pub(super) fn run(args: cli::ImageCheck) -> Result<(), Failure> {
    let store = super::store(args.backend, None)?;
    match args.file {
        None if !args.names.is_empty() => images(&store, args.names, args.format),
        file => {
            let file = file.unwrap_or_else(|| PathBuf::from(IMAGEFILE));
            let directory = args.names.into_iter().next().map_or_else(|| folder_of(&file), PathBuf::from);
            imagefile(&store, &directory, &file, args.format)
        }
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn imagefile(store: &Store, directory: &Path, file: &Path, format: Format) -> Result<(), Failure> {
    let plan = check(store, directory, Some(file))?;
    let from = match &plan.base {
        Base::Scratch => "scratch",
        Base::Image(spec) => spec.name.as_str(),
    };
    let steps = plan.steps.len();
    match format {
        Format::Table => {
            let from = printable(from);
            output::text(&format!("{}: no errors in {steps} steps from {from}\n", file.display()))
        }
        Format::Json => output::json(&serde_json::json!({ "imagefile": file, "from": from, "steps": steps })),
    }
}

fn images(store: &Store, names: Vec<String>, format: Format) -> Result<(), Failure> {
    let names = super::names(names)?;
    let cancel = super::cancelled_by_signals()?;
    let checks: Result<Vec<_>, _> = names.iter().map(|name| store.check(name, &cancel)).collect();
    let checks = checks.inspect_err(|error| explain(error, &names, format))?;
    match format {
        Format::Table => output::text(&table(&checks))?,
        Format::Json => {
            output::json(&checks.iter().map(json).collect::<Result<_, _>>()?)?;
        }
    }
    if checks.iter().all(ImageCheck::is_sound) { Ok(()) } else { Err(Failure::Told) }
}

/// Says what to type where a build directory was taken for an image.
fn explain(error: &Error, names: &[ImageName], format: Format) {
    let is_directory = |name: &&ImageName| Path::new(name.as_str()).join(IMAGEFILE).is_file();
    if error.kind() == ErrorKind::ImageNotFound
        && format == Format::Table
        && let Some(directory) = names.iter().find(is_directory)
    {
        let imagefile = Path::new(directory.as_str()).join(IMAGEFILE);
        output::warning(&format!(
            "'{}' is a build directory: `image check --file {}` checks its Imagefile",
            printable(directory.as_str()),
            printable(&imagefile.display().to_string())
        ));
    }
}

fn table(checks: &[ImageCheck]) -> String {
    let header = ["NAME", "FOUND"].map(str::to_owned);
    let rows = checks.iter().map(|check| [printable(&check.name), printable(&found(check))]);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    output::table(&rows, &[Align::Left, Align::Left])
}

fn found(check: &ImageCheck) -> String {
    match (&check.refusal, &check.hint) {
        (Some(reason), Some(hint)) => format!("{reason}; {hint}"),
        (Some(reason), None) => reason.clone(),
        (None, _) if check.is_sound() => "nothing wrong".to_owned(),
        (None, _) => format!("{} corruptions, {} leaked clusters", check.corruptions, check.leaks),
    }
}

fn json(check: &ImageCheck) -> Result<serde_json::Value, Failure> {
    let mut value = serde_json::to_value(check).map_err(std::io::Error::from)?;
    value["sound"] = check.is_sound().into();
    Ok(value)
}
