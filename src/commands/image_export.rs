//! `transient image export`

use transient_core::{ExportFormat, ExportOptions, ImageName, export};

use crate::cli::{DiskFormat, ImageExport};
use crate::failure::Failure;

pub(super) fn run(args: ImageExport) -> Result<(), Failure> {
    let mut options = ExportOptions::new(ImageName::new(args.name)?, args.path);
    options.format = args.format.map(|format| match format {
        DiskFormat::Qcow2 => ExportFormat::Qcow2,
        DiskFormat::Raw => ExportFormat::Raw,
        DiskFormat::Vmdk => ExportFormat::Vmdk,
        DiskFormat::Vhdx => ExportFormat::Vhdx,
        DiskFormat::Vdi => ExportFormat::Vdi,
    });
    options.compress = args.compress;
    options.replace = args.force;
    let store = super::store(args.backend, None)?;
    super::watched(args.progress, |listener, cancel| export(&store, &options, listener, cancel))
}
