//! Whatever `qemu-img` makes that is whole in itself is taken, and read as QEMU reads it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use transient_core::CancelToken;
use transient_core::image::header::Header;

use super::{disk, has_qemu_img, info, qemu_img, run};

/// Formats and the options to make them with.
const MADE: [(&str, &str); 35] = [
    ("raw", ""),
    ("qcow2", ""),
    ("qcow2", "compat=0.10"),
    ("qcow2", "compat=0.10,cluster_size=512"),
    ("qcow2", "cluster_size=512"),
    ("qcow2", "cluster_size=4k"),
    ("qcow2", "cluster_size=2M"),
    ("qcow2", "cluster_size=2M,lazy_refcounts=on"),
    ("qcow2", "preallocation=metadata"),
    ("qcow2", "preallocation=falloc"),
    ("qcow2", "preallocation=full"),
    ("qcow2", "refcount_bits=1"),
    ("qcow2", "refcount_bits=64"),
    ("qcow2", "compression_type=zstd"),
    ("qcow2", "compression_type=zlib"),
    ("qcow2", "extended_l2=on,cluster_size=16k"),
    ("qcow2", "extended_l2=on,cluster_size=64k"),
    ("qcow2", "extended_l2=on,cluster_size=64k,preallocation=metadata"),
    ("qcow", ""),
    ("qed", ""),
    ("qed", "cluster_size=64k,table_size=2"),
    ("qed", "cluster_size=128k,table_size=2"),
    ("vdi", ""),
    ("vdi", "static=on"),
    ("vmdk", ""),
    ("vmdk", "adapter_type=lsilogic,hwversion=10,zeroed_grain=on"),
    ("vmdk", "compat6=on"),
    ("vmdk", "subformat=streamOptimized"),
    ("vhdx", ""),
    ("vhdx", "subformat=fixed"),
    ("vpc", ""),
    ("vpc", "force_size=on"),
    ("vpc", "subformat=fixed"),
    ("vpc", "subformat=fixed,force_size=on"),
    ("parallels", ""),
];

/// Asserts that an image is taken, and that QEMU agrees on what it is.
fn assert_taken(path: &Path, format: &str, what: &str) {
    let header = Header::inspect(&File::open(path).unwrap(), &CancelToken::new()).unwrap();
    assert_eq!((header.refusal(), header.format.name()), (None, format), "{what}");
    assert_eq!(Header::open(path).unwrap(), header, "{what}");
    let info = info(path, format).unwrap();
    assert_eq!(info[0]["virtual-size"].as_u64(), Some(header.virtual_size), "{what}");
}

fn options(options: &str) -> Vec<&str> {
    if options.is_empty() { Vec::new() } else { vec!["-o", options] }
}

#[test]
fn empty_images_are_taken() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for (format, with) in MADE {
        for size in ["10M", "1234567936", "1T"] {
            let large = size != "10M";
            if large
                && ["fixed", "static", "prealloc", "=512", "refcount_bits=1"].iter().any(|o| with.contains(o))
            {
                continue;
            }
            let arguments = ["create", "-q", "-f", format].into_iter().chain(options(with));
            let arguments = arguments.map(OsStr::new).chain([path.as_os_str(), OsStr::new(size)]);
            run(arguments);
            assert_taken(&path, format, &format!("{format} {with} {size}"));
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn images_with_data_are_taken() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, path) = (disk(folder.path()), folder.path().join("image"));
    for (format, with) in MADE {
        for compressed in [false, true] {
            // Of the others, some cannot be compressed, and some always are.
            if compressed && (format != "qcow2" || with.contains("preallocation")) {
                continue;
            }
            let mut arguments = vec!["convert", "-f", "raw", "-O", format];
            arguments.extend(options(with));
            arguments.extend(compressed.then_some("-c"));
            run(arguments.into_iter().map(OsStr::new).chain([disk.as_os_str(), path.as_os_str()]));
            assert_taken(&path, format, &format!("{format} {with} {compressed}"));
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn snapshots_and_bitmaps_are_no_obstacle() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, path) = (disk(folder.path()), folder.path().join("image"));
    for with in ["compat=1.1", "cluster_size=512", "extended_l2=on"] {
        let arguments = ["convert", "-f", "raw", "-O", "qcow2", "-o", with].map(OsStr::new);
        run(arguments.into_iter().chain([disk.as_os_str(), path.as_os_str()]));
        for arguments in [
            vec!["snapshot", "-c", "first"],
            vec!["snapshot", "-c", "second"],
            vec!["bitmap", "--add", "-f", "qcow2"],
        ] {
            let last = (arguments[0] == "bitmap").then_some("changes");
            let arguments = arguments.into_iter().map(OsStr::new).chain([path.as_os_str()]);
            run(arguments.chain(last.map(OsStr::new)));
        }
        assert_taken(&path, "qcow2", with);
        let header = Header::open(&path).unwrap();
        assert_eq!(header.qcow2.map(|info| info.snapshots), Some(2), "{with}");
    }
}

#[test]
fn a_shrunk_and_a_grown_image_are_taken() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, path) = (disk(folder.path()), folder.path().join("image"));
    let arguments = ["convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=512"].map(OsStr::new);
    run(arguments.into_iter().chain([disk.as_os_str(), path.as_os_str()]));
    for size in ["1M", "1G"] {
        let arguments = ["resize", "-q", "--shrink", "-f", "qcow2"].map(OsStr::new);
        run(arguments.into_iter().chain([path.as_os_str(), OsStr::new(size)]));
        assert_taken(&path, "qcow2", size);
    }
    let check = qemu_img([OsStr::new("check"), OsStr::new("-f"), OsStr::new("qcow2"), path.as_os_str()]);
    assert!(check.status.success());
}
