//! COPY and ADD: from the build directory into the image.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use transient_guest::protocol::Placement;

use super::context::{Context, Source};
use super::copy::{Copier, total_size};
use super::{archive, context};
use crate::Error;
use crate::builder::Builder;
use crate::event::Reporter;
use crate::imagefile::Transfer;
use crate::progress::Progress;

/// Checks that a source of COPY can be had, so that a mistake shows before anything boots.
pub(super) fn check_copy(context: &Context, source: &Path) -> Result<(), Error> {
    match context.find(source)?.kind {
        FileType::RegularFile => context.open_file(source).map(drop),
        _ => Ok(()),
    }
}

/// Checks that a source of ADD can be had; it looks into what a link leads to.
pub(super) fn check_add(context: &Context, source: &Path) -> Result<(), Error> {
    match context.find(source)?.kind {
        FileType::Directory => Ok(()),
        _ => context.open_file(source).map(drop),
    }
}

/// Copies the sources as `cp -r` does.
pub(super) async fn copy(
    builder: &Builder,
    context: &Context,
    transfer: &Transfer,
    reporter: &Reporter,
) -> Result<(), Error> {
    let sources =
        transfer.sources.iter().map(|source| context.find(source)).collect::<Result<Vec<_>, _>>()?;
    let placement = placement(transfer, &sources);
    copy_sources(builder, context, sources, &transfer.destination, placement, reporter).await
}

/// Unpacks the sources that are archives into the destination, and copies the others.
pub(super) async fn add(
    builder: &Builder,
    context: &Context,
    transfer: &Transfer,
    reporter: &Reporter,
) -> Result<(), Error> {
    let destination = absolute(&transfer.destination);
    for path in &transfer.sources {
        let source = context.find(path)?;
        if !add_archive(builder, context, &source, path, &destination, reporter).await? {
            let placement = placement(transfer, std::slice::from_ref(&source));
            copy_sources(builder, context, vec![source], &destination, placement, reporter).await?;
        }
    }
    Ok(())
}

/// Unpacks an archive; returns whether it was one.
async fn add_archive(
    builder: &Builder,
    context: &Context,
    source: &context::Source,
    path: &Path,
    destination: &Path,
    reporter: &Reporter,
) -> Result<bool, Error> {
    if source.kind == FileType::Directory {
        return Ok(false);
    }
    let file = context.open_file(path)?;
    let metadata =
        file.metadata().map_err(|error| Error::io(format!("cannot read '{}'", path.display()), error))?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let task = format!("Adding {}", path.display());
    let progress = Progress::new(reporter, task, Some(metadata.len()));
    let last = progress.clone();
    let mut counted = progress;
    let Some(mut stream) = archive::open(file, path, Box::new(move |length| counted.add(length)))? else {
        return Ok(false);
    };
    let name = path.to_owned();
    builder
        .unpack(destination, Placement::Into, move |output| {
            io::copy(&mut stream, output).map(drop).map_err(|error| {
                let message = format!("cannot read the archive '{}'", name.display());
                Error::new(crate::ErrorKind::InvalidSource, message).caused_by(error)
            })
        })
        .await?;
    last.finish(metadata.len()).await;
    Ok(true)
}

async fn copy_sources(
    builder: &Builder,
    context: &Context,
    sources: Vec<Source>,
    destination: &Path,
    placement: Placement,
    reporter: &Reporter,
) -> Result<(), Error> {
    let hidden = context.hidden();
    let total = sources.iter().map(|source| total_size(source, &hidden)).sum();
    let names: Vec<_> = sources.iter().map(|source| source.name.display().to_string()).collect();
    let progress = Progress::new(reporter, format!("Copying {}", names.join(" ")), Some(total));
    let last = progress.clone();
    let mut counted = progress;
    builder
        .unpack(&absolute(destination), placement, move |output| {
            let mut copier = Copier::new(output, hidden, Box::new(move |length| counted.add(length)));
            sources.iter().try_for_each(|source| copier.add(source))?;
            copier.finish()
        })
        .await?;
    last.finish(total).await;
    Ok(())
}

/// One source may get the destination's name; several, or a destination that ends in a slash, need a directory.
fn placement(transfer: &Transfer, sources: &[Source]) -> Placement {
    use std::os::unix::ffi::OsStrExt;
    let into_directory =
        transfer.sources.len() > 1 || transfer.destination.as_os_str().as_bytes().ends_with(b"/");
    match sources {
        [source] if !into_directory => {
            source.target_name().map_or(Placement::Into, |name| Placement::AsOrInto(name.to_owned()))
        }
        _ => Placement::Into,
    }
}

/// A destination is looked for from the image's root.
fn absolute(destination: &Path) -> PathBuf {
    Path::new("/").join(destination)
}
