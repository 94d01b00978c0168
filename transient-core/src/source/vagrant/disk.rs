//! The disk image in the archive that a box is.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use transient_guest::archive::{Archive, Broken, Kind, SparseMap};

use crate::source::Place;
use crate::source::receive::cannot_write;
use crate::source::sparse::SparseFile;
use crate::{Error, ErrorKind};

/// What describes the box to the programs that run it.
const METADATA: &str = "metadata.json";
const LONGEST_METADATA: u64 = 1 << 20;
const SUFFIXES: [&str; 2] = [".img", ".qcow2"];
const QCOW2: &[u8] = b"QFI\xfb";

/// What `metadata.json` says, of boxes that may have several disks.
#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    disks: Vec<Disk>,
}

#[derive(Debug, Deserialize)]
struct Disk {
    path: Option<String>,
}

/// A disk image that was found, and the file that it was written to.
#[derive(Debug)]
struct Found {
    name: String,
    path: PathBuf,
}

/// Writes the one disk image of a box to a file of the folder, and returns its path. `named` is the box.
pub(in crate::source) fn extract_disk(
    stream: impl BufRead,
    named: &str,
    place: &Place<'_>,
) -> Result<PathBuf, Error> {
    let damaged = |broken: Broken| {
        Error::new(ErrorKind::InvalidImage, format!("the vagrant box '{named}' cannot be unpacked"))
            .caused_by(broken)
            .hint("it is damaged or cut short; get it again")
    };
    let mut archive = Archive::new(stream);
    let mut metadata = Metadata::default();
    let mut disks: Vec<Found> = Vec::new();
    while let Some(member) = archive.next_member().map_err(damaged)? {
        let Kind::File(map) = member.kind else { continue };
        let name = file_name(&member.path);
        if name == METADATA {
            let text = read(&mut archive).map_err(damaged)?;
            metadata = serde_json::from_slice(&text).unwrap_or_default();
        } else if is_disk(&name, archive.piece().map_err(damaged)?) {
            let path = place.folder.join(format!("disk-{}", disks.len()));
            write(&mut archive, map.as_ref(), &path, &damaged, place)?;
            disks.push(Found { name, path });
        }
    }
    choose(disks, &metadata).map_err(|reason| {
        let message = format!("the vagrant box '{named}' cannot be used");
        Error::new(ErrorKind::InvalidImage, message).caused_by(reason)
    })
}

/// Returns the name without folders.
fn file_name(path: &[u8]) -> String {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn is_disk(name: &str, start: &[u8]) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) || start.starts_with(QCOW2)
}

fn choose(mut disks: Vec<Found>, metadata: &Metadata) -> Result<PathBuf, String> {
    let several = |names: &[&str]| format!("it has several disks ({}), an image has one", names.join(", "));
    let listed: Vec<&str> = metadata.disks.iter().filter_map(|disk| disk.path.as_deref()).collect();
    match listed[..] {
        [] => {}
        [only] => disks.retain(|disk| disk.name == file_name(only.as_bytes())),
        _ => return Err(several(&listed)),
    }
    let names: Vec<&str> = disks.iter().map(|disk| &*disk.name).collect();
    match names[..] {
        [_] => Ok(disks.remove(0).path),
        [] => Err(format!("there is no {} in it", listed.first().unwrap_or(&"box.img"))),
        _ => Err(several(&names)),
    }
}

fn read(archive: &mut Archive<impl BufRead>) -> Result<Vec<u8>, Broken> {
    if archive.left() > LONGEST_METADATA {
        return Err(Broken(format!("its {METADATA} is too long")));
    }
    let mut text = Vec::new();
    loop {
        let piece = archive.piece()?;
        if piece.is_empty() {
            return Ok(text);
        }
        text.extend_from_slice(piece);
        let count = piece.len();
        archive.used(count);
    }
}

fn write(
    archive: &mut Archive<impl BufRead>,
    map: Option<&SparseMap>,
    path: &Path,
    damaged: &dyn Fn(Broken) -> Error,
    place: &Place<'_>,
) -> Result<(), Error> {
    let cannot_write = |error| cannot_write(path, error);
    let mut target = SparseFile::create(path).map_err(cannot_write)?;
    let whole = [(0, archive.left())];
    let parts = map.map_or(&whole[..], |map| &map.parts);
    for &(offset, length) in parts {
        target.skip_to(offset);
        let mut left = length;
        while left > 0 {
            place.cancel.check()?;
            let piece = archive.piece().map_err(damaged)?;
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(damaged(Broken("a sparse file is cut off".to_owned())));
            }
            target.append(&piece[..count]).map_err(cannot_write)?;
            archive.used(count);
            left -= count as u64;
        }
    }
    target.skip_to(map.map_or(0, |map| map.size));
    target.finish().map_err(cannot_write)
}
