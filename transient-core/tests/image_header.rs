//! The native reader of headers, compared with what `qemu-img` says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use transient_core::image::header::{Format, Header};

/// Makes an image and returns its header, and the size that QEMU sees; `None` where there is no `qemu-img`.
fn create(folder: &Path, format: &str, options: &str, backing: Option<&str>) -> Option<(Header, u64)> {
    let path = folder.join(format!("{format}-{}", options.replace(['/', ','], "_")));
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format]);
    if !options.is_empty() {
        command.args(["-o", options]);
    }
    if let Some(backing) = backing {
        command.args(["-b", backing, "-F", "raw"]);
    }
    let status = command.arg(&path).arg("10M").status().ok()?;
    assert!(status.success(), "{command:?}");
    let info =
        Command::new("qemu-img").args(["info", "-f", format, "--output=json"]).arg(&path).output().unwrap();
    assert!(info.status.success(), "{}", String::from_utf8_lossy(&info.stderr));
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    Some((Header::open(&path).unwrap(), info["virtual-size"].as_u64().unwrap()))
}

#[test]
fn standalone_images_are_read_as_qemu_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    for (format, name, options) in [
        (Format::Raw, "raw", ""),
        (Format::Qcow2, "qcow2", ""),
        (Format::Qcow2, "qcow2", "compat=0.10"),
        (Format::Qcow2, "qcow2", "cluster_size=512"),
        (Format::Qcow2, "qcow2", "cluster_size=2M,lazy_refcounts=on"),
        (Format::Qcow2, "qcow2", "compression_type=zstd"),
        (Format::Qcow2, "qcow2", "extended_l2=on,cluster_size=64k"),
        (Format::Qcow, "qcow", ""),
        (Format::Qed, "qed", ""),
        (Format::Vdi, "vdi", ""),
        (Format::Vdi, "vdi", "static=on"),
        (Format::Vmdk, "vmdk", ""),
        (Format::Vmdk, "vmdk", "subformat=streamOptimized"),
        (Format::Vhdx, "vhdx", ""),
        (Format::Vpc, "vpc", "force_size=on"),
        (Format::Vpc, "vpc", "subformat=fixed,force_size=on"),
    ] {
        let Some((header, size)) = create(folder.path(), name, options, None) else { return skip() };
        assert_eq!(header.format, format, "{name} {options}");
        assert_eq!(header.virtual_size, size, "{name} {options}");
        assert_eq!(header.refusal(), None, "{name} {options}");
    }
}

#[test]
fn images_that_name_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.raw");
    std::fs::write(&base, vec![0; 1 << 20]).unwrap();
    let base = base.to_str().unwrap();
    for (name, options, backing) in [
        ("qcow2", "", Some(base)),
        ("qcow2", "compat=0.10", Some(base)),
        ("qcow2", "cluster_size=512", Some(base)),
        ("qed", "", Some(base)),
        ("vmdk", "subformat=monolithicFlat", None),
        ("vmdk", "subformat=twoGbMaxExtentSparse", None),
    ] {
        let Some((header, _)) = create(folder.path(), name, options, backing) else { return skip() };
        assert!(header.refusal().is_some(), "{name} {options}: {header:?}");
        if let Some(info) = header.qcow2 {
            assert_eq!(
                (info.backing_file.as_deref(), info.backing_format.as_deref()),
                (Some(base), Some("raw"))
            );
        }
    }
    let data_file = format!("data_file={}", folder.path().join("data.raw").display());
    let Some((header, _)) = create(folder.path(), "qcow2", &data_file, None) else { return skip() };
    assert!(header.refusal().is_some_and(|reason| reason.contains("data.raw")), "{header:?}");
}

/// `qemu-img` must be there where tests count.
fn skip() {
    assert!(std::env::var_os("CI").is_none(), "qemu-img is missing");
    eprintln!("skipped: qemu-img is not installed");
}
