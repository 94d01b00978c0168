//! Images that name other files, are encrypted, or were cut short.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use transient_core::CancelToken;
use transient_core::image::header::Header;

use super::{disk, has_qemu_img, info, run};

fn inspect(path: &Path) -> Header {
    Header::inspect(&File::open(path).unwrap(), &CancelToken::new()).unwrap()
}

fn create(path: &Path, arguments: &[&str]) -> Header {
    let arguments = ["create", "-q"].iter().chain(arguments).map(OsStr::new);
    run(arguments.chain([path.as_os_str(), OsStr::new("10M")]));
    inspect(path)
}

#[test]
fn images_that_name_other_files_are_refused() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.raw");
    std::fs::write(&base, vec![0; 1 << 20]).unwrap();
    let vmdk = folder.path().join("base.vmdk");
    create(&vmdk, &["-f", "vmdk"]);
    let (base, vmdk) = (base.to_str().unwrap(), vmdk.to_str().unwrap());
    let path = folder.path().join("image");
    for (format, options, backing, expected) in [
        ("qcow2", "", Some(base), "backing file"),
        ("qcow2", "compat=0.10", Some(base), "backing file"),
        ("qcow2", "cluster_size=512", Some(base), "backing file"),
        ("qcow", "", Some(base), "backing file"),
        ("qed", "", Some(base), "backing file"),
        ("vmdk", "", Some(vmdk), "parent"),
        ("vmdk", "subformat=monolithicFlat", None, "names other files (`RW 20480 FLAT"),
        ("vmdk", "subformat=twoGbMaxExtentSparse", None, "names other files"),
        ("vmdk", "subformat=twoGbMaxExtentFlat", None, "names other files"),
    ] {
        let mut arguments = vec!["-f", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        if let Some(backing) = backing {
            arguments.extend(["-b", backing, "-F", if format == "vmdk" { "vmdk" } else { "raw" }]);
        }
        let header = create(&path, &arguments);
        assert!(header.refusal().is_some_and(|why| why.contains(expected)), "{format} {options}: {header:?}");
        if let Some(info) = header.qcow2 {
            let found = (info.backing_file.as_deref(), info.backing_format.as_deref());
            assert_eq!(found, (Some(base), Some("raw")));
        }
    }
    let data_file = format!("data_file={}", folder.path().join("data.raw").display());
    let header = create(&path, &["-f", "qcow2", "-o", &data_file]);
    assert!(header.refusal().is_some_and(|why| why.contains("data.raw")), "{header:?}");
}

#[test]
fn the_parts_of_a_split_vmdk_are_refused() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    create(&folder.path().join("split.vmdk"), &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]);
    let part = inspect(&folder.path().join("split-s001.vmdk"));
    assert!(part.refusal().is_some_and(|why| why.contains("several files")), "{part:?}");
}

#[test]
fn encrypted_images_are_refused() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let secret = ["--object", "secret,id=key,data=secret"];
    for (format, options, expected) in [
        ("qcow2", "encrypt.format=aes,encrypt.key-secret=key", "AES"),
        ("qcow", "encrypt.format=aes,encrypt.key-secret=key", "encrypted"),
    ] {
        let header = create(&path, &[&secret[..], &["-f", format, "-o", options]].concat());
        assert_eq!(header.format.name(), format);
        assert!(header.refusal().is_some_and(|why| why.contains(expected)), "{header:?}");
        assert!(header.hint().is_some_and(|hint| hint.contains("without encryption")));
    }
}

/// QEMU reads the missing part of most of them as zeros, without a word.
#[test]
fn images_that_were_cut_short_are_refused() {
    if !has_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, path) = (disk(folder.path()), folder.path().join("image"));
    for (format, options) in [
        ("qcow2", "compat=1.1"),
        ("qcow2", "extended_l2=on"),
        ("qcow", ""),
        ("qed", ""),
        ("vdi", ""),
        ("vmdk", ""),
        ("parallels", ""),
        ("vpc", "subformat=fixed"),
    ] {
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        run(arguments.into_iter().map(OsStr::new).chain([disk.as_os_str(), path.as_os_str()]));
        assert_eq!(inspect(&path).refusal(), None, "{format} {options}");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - (1 << 20) - 4096).unwrap();
        let header = inspect(&path);
        if format == "vpc" {
            // What is left cannot be told from a raw image.
            assert_eq!(header.format.name(), "raw");
            continue;
        }
        assert!(header.refusal().is_some_and(|why| why.contains("beyond the end")), "{format}: {header:?}");
        assert!(info(&path, format).is_ok(), "QEMU has learnt to see it: {format}");
    }
}
