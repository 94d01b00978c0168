//! Finding the mistakes of an Imagefile without building anything.

use std::path::Path;

use super::context::Context;
use super::plan::{Plan, Step};
use super::{IMAGEFILE, transfer};
use crate::error::Location;
use crate::imagefile::{Base, Diagnostic, Imagefile, Instruction, Problem, Span};
use crate::{Error, ErrorKind, Store, source};

/// Checks an Imagefile as far as that goes without fetching, booting or making anything: all that is said of
/// [`Imagefile::parse`]; that the sources of COPY and ADD are there, in the build directory; and that the image it
/// starts from is in the backend, or may come from somewhere. Returns what a build would do.
///
/// `file` is the Imagefile; `None` is `Imagefile` in the build directory.
///
/// ```
/// use transient_core::{Locations, Store, check};
///
/// let folder = tempfile::tempdir()?;
/// let text = "FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY missing /\n";
/// std::fs::write(folder.path().join("Imagefile"), text)?;
/// let store = Store::new(Locations::below(folder.path()));
/// let error = check(&store, folder.path(), None).unwrap_err();
/// assert_eq!(error.diagnostics()[0].line, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidImagefile`] with every mistake in [`Error::diagnostics`]; [`ErrorKind::InvalidArgument`] when
/// there is no such file or directory.
pub fn check(store: &Store, directory: &Path, file: Option<&Path>) -> Result<Plan, Error> {
    let path = file.map_or_else(|| directory.join(IMAGEFILE), Path::to_owned);
    let imagefile = Imagefile::load(path)?;
    let context = Context::open(directory)?;
    let plan = Plan::new(&imagefile);
    let places = imagefile.instructions().iter().map(|(_, span)| *span);
    let diagnostics: Vec<_> = plan
        .steps
        .iter()
        .zip(places)
        .flat_map(|(step, span)| mistakes(store, &context, step).into_iter().map(move |error| (error, span)))
        .map(|(error, span)| diagnostic(&error, span, &imagefile))
        .collect();
    let Some(first) = diagnostics.first() else { return Ok(plan) };
    let count = match diagnostics.len() {
        1 => "an error".to_owned(),
        count => format!("{count} errors"),
    };
    let message = format!("'{}' has {count}", imagefile.path().display());
    let location = Location { file: first.file.clone(), line: first.line, column: first.column };
    Err(Error::new(ErrorKind::InvalidImagefile, message).at(location).with_diagnostics(diagnostics))
}

/// Returns what is wrong with a step: one error for each source.
fn mistakes(store: &Store, context: &Context, step: &Step) -> Vec<Error> {
    match &step.instruction {
        Instruction::From(Base::Image(spec)) => source::check(store, spec).err().into_iter().collect(),
        Instruction::Copy(transfer) => each(&transfer.sources, |path| transfer::check_copy(context, path)),
        Instruction::Add(transfer) => each(&transfer.sources, |path| transfer::check_add(context, path)),
        _ => Vec::new(),
    }
}

fn each(sources: &[std::path::PathBuf], check: impl Fn(&Path) -> Result<(), Error>) -> Vec<Error> {
    sources.iter().filter_map(|path| check(path).err()).collect()
}

fn diagnostic(error: &Error, span: Span, imagefile: &Imagefile) -> Diagnostic {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message.push_str(&format!(": {source}"));
        cause = source.source();
    }
    let help = (!error.hints().is_empty()).then(|| error.hints().join("; "));
    Diagnostic::locate(Problem { span, message, help }, imagefile.path(), imagefile.text())
}
