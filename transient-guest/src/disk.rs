//! The image's disk, which the guest must not know before the host has given it.

use std::fs;
use std::io;

use crate::operations::modules;

const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_blk";

/// Has the kernel look at the disk. A guest that was saved had another one in its place, which a driver that is built
/// into the kernel has looked at already.
pub(crate) fn attach() -> io::Result<()> {
    for device in known()? {
        fs::write(format!("{DRIVER}/unbind"), &device)?;
        fs::write(format!("{DRIVER}/bind"), &device)?;
    }
    modules::load("disk").map(drop).map_err(|failure| io::Error::other(failure.message))
}

/// The names of the devices that the driver has.
fn known() -> io::Result<Vec<String>> {
    match fs::read_dir(DRIVER) {
        Ok(entries) => {
            let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            Ok(names.filter(|name| name.starts_with("virtio")).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
