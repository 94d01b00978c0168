use std::io::Write;

use super::*;

/// A minimal ELF file with a section `.modinfo`.
fn module(info: &str) -> Vec<u8> {
    let info = info.replace('\n', "\0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    elf[16..20].copy_from_slice(&[1, 0, 62, 0]);
    elf[20] = 1;
    let headers = 64 + info.len() + names.len();
    elf[40..48].copy_from_slice(&(headers as u64).to_le_bytes());
    elf[52] = 64;
    elf[58] = 64;
    elf[60] = 3;
    elf[62] = 2;
    elf.extend(info.as_bytes());
    elf.extend(names);
    let section = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut header = Vec::new();
        header.extend(name.to_le_bytes());
        header.extend(kind.to_le_bytes());
        for value in [0, 0, offset as u64, size as u64, 0, 1, 0] {
            header.extend(value.to_le_bytes());
        }
        header
    };
    elf.extend(section(0, 0, 0, 0));
    elf.extend(section(1, 1, 64, info.len()));
    elf.extend(section(10, 3, 64 + info.len(), names.len()));
    elf
}

fn folder(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, info) in modules {
        let path = folder.path().join("kernel").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = module(info);
        if path.extension().is_some_and(|extension| extension == "xz") {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&bytes).unwrap();
            bytes = encoder.finish().unwrap();
        } else if path.extension().is_some_and(|extension| extension == "zst") {
            bytes = zstd::encode_all(&*bytes, 1).unwrap();
        }
        fs::write(path, bytes).unwrap();
    }
    fs::write(folder.path().join("modules.builtin"), builtin).unwrap();
    folder
}

const BOOT_BUILTIN: &str = "kernel/drivers/virtio_mmio.ko\nkernel/drivers/virtio_pci.ko\n\
    kernel/drivers/virtio_blk.ko\nkernel/drivers/virtio_console.ko\n";

#[test]
fn dependencies_load_first_hard_and_soft() {
    let folder = folder(
        &[
            (
                "fs/btrfs.ko.zst",
                "depends=raid6_pq,lib-crc32c\nsoftdep=pre: crypto-crc32c sha256 post: late\n",
            ),
            ("lib/raid6_pq.ko", "depends=\n"),
            ("lib/lib-crc32c.ko.xz", "softdep=pre: crc32c\ndepends=\n"),
            ("arch/x86/crypto/crc32c-intel.ko", "alias=cpu:type:x86\nalias=crypto-crc32c\ndepends=\n"),
            ("crypto/crc32c_generic.ko", "alias=crypto-crc32c\nalias=crc32c\ndepends=\n"),
            ("lib/late.ko", "depends=\n"),
        ],
        BOOT_BUILTIN,
    );
    let selection = select(folder.path()).unwrap();
    assert_eq!(selection.groups["btrfs"], ["crc32c_generic", "raid6_pq", "lib_crc32c", "btrfs"]);
    assert_eq!(selection.groups["boot"], [""; 0]);
    assert!(selection.modules["btrfs"].bytes.starts_with(b"\x7fELF"), "it is unpacked");
    assert!(!selection.modules.contains_key("late") && !selection.modules.contains_key("crc32c_intel"));
    assert!(!selection.groups.contains_key("xfs"), "what the kernel cannot do has no group");
}

#[test]
fn a_builtin_alias_needs_no_module() {
    let folder = folder(&[("fs/xfs.ko", "softdep=pre: crc32c\ndepends=\n")], BOOT_BUILTIN);
    fs::write(folder.path().join("modules.builtin.modinfo"), b"crc32c_generic.alias=crc32c\0").unwrap();
    assert_eq!(select(folder.path()).unwrap().groups["xfs"], ["xfs"]);
}

#[test]
fn modules_that_need_each_other_end() {
    let folder = folder(&[("a/xfs.ko", "depends=b\n"), ("a/b.ko", "depends=xfs\n")], BOOT_BUILTIN);
    assert_eq!(select(folder.path()).unwrap().groups["xfs"], ["b", "xfs"]);
}

#[test]
fn a_group_is_left_out_if_a_dependency_is_missing() {
    let folder = folder(&[("fs/xfs.ko", "depends=gone\n")], BOOT_BUILTIN);
    assert!(!select(folder.path()).unwrap().groups.contains_key("xfs"));
}

#[test]
fn a_kernel_that_cannot_boot_is_an_error_that_names_the_module() {
    let folder = folder(&[("fs/xfs.ko", "depends=\n")], "kernel/virtio_mmio.ko\n");
    let error = select(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplianceInvalid);
    assert!(error.to_string().contains("virtio_pci"), "{error}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn broken_modules_and_folders_are_errors() {
    let broken = folder(&[], BOOT_BUILTIN);
    fs::create_dir(broken.path().join("kernel")).unwrap();
    fs::write(broken.path().join("kernel/xfs.ko"), "no ELF file").unwrap();
    assert!(select(broken.path()).unwrap_err().to_string().contains("xfs.ko"));
    assert!(select(&broken.path().join("absent")).is_err());
    assert!(select(folder(&[], "").path()).is_err());
}
