//! Packing files of the image into a tar stream.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use transient_guest::frames::FrameWriter;
use transient_guest::pack::{Packer, Source};
use transient_guest::protocol::Reply;

use super::failure::{Doing, Failure};
use super::inside;
use super::unpack::enter_image;

/// Packs `source` in the image into a stream that goes over `port`.
pub(super) fn pack(port: Option<&Path>, source: &Path, reply: &mut dyn FnMut(Reply)) -> Result<(), Failure> {
    let port = port.ok_or_else(|| Failure::other("there is no data port"))?;
    let port = File::options()
        .write(true)
        .open(port)
        .doing(|| format!("cannot open the data port {}", port.display()))?;
    let mut output = FrameWriter::new(port);
    let notes = pack_image(&mut output, source).inspect_err(|_| {
        // A host that is gone is noticed by the agent.
        let _ = output.abort();
    })?;
    output.finish().doing(|| "cannot send to the host")?;
    notes.into_iter().for_each(|message| reply(Reply::Note { message }));
    Ok(())
}

fn pack_image(output: &mut dyn Write, source: &Path) -> Result<Vec<String>, Failure> {
    let root = enter_image()?;
    let (folder, name) = Source::of(source)?.place();
    let folder = inside::directory(&root, folder).doing(|| format!("cannot find {}", source.display()))?;
    let mut packer = Packer::new(output, Box::new(|_| ()));
    packer.add(&folder, name, source)?;
    packer.finish()
}
