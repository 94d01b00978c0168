//! Looks into a built image with tools that are not ours.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::host;

/// An image as a raw disk.
pub(crate) struct Disk {
    folder: Rc<TempDir>,
    raw: PathBuf,
    /// What `sfdisk --json` says of it.
    pub(crate) table: Value,
}

impl Disk {
    /// Checks the qcow2 file, and opens what is in it.
    #[track_caller]
    pub(crate) fn open(image: &Path) -> Self {
        assert!(image.is_file(), "{} is missing", image.display());
        host([os("qemu-img"), os("check"), os("-q"), os("-f"), os("qcow2"), image.into()]);
        let info =
            host([os("qemu-img"), os("info"), os("--output=json"), os("-f"), os("qcow2"), image.into()]);
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info.get("backing-filename"), None, "the image stands on its own");
        let folder = Rc::new(TempDir::new().unwrap());
        let raw = folder.path().join("raw");
        let words = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw"].map(os);
        host(words.into_iter().chain([image.into(), raw.clone().into()]));
        let table = host([os("sfdisk"), os("--json"), raw.clone().into()]);
        let table = serde_json::from_str::<Value>(&table).unwrap()["partitiontable"].clone();
        Self { folder, raw, table }
    }

    /// Returns a partition's entry in the table, counted from 1.
    #[track_caller]
    pub(crate) fn entry(&self, number: usize) -> &Value {
        let partitions = self.table["partitions"].as_array().unwrap();
        let suffix = format!("raw{number}");
        partitions.iter().find(|entry| entry["node"].as_str().unwrap().ends_with(&suffix)).unwrap()
    }

    /// Returns a file with what is in a partition.
    #[track_caller]
    pub(crate) fn partition(&self, number: usize) -> PathBuf {
        let bytes = |key: &str| self.entry(number)[key].as_u64().unwrap() * 512;
        assert_eq!(bytes("start") % (1 << 20), 0, "partitions begin at whole MiB");
        let file = self.folder.path().join(format!("partition{number}"));
        host([
            "dd".to_owned(),
            format!("if={}", self.raw.display()),
            format!("of={}", file.display()),
            "bs=1M".to_owned(),
            "iflag=skip_bytes,count_bytes".to_owned(),
            format!("skip={}", bytes("start")),
            format!("count={}", bytes("size")),
            "conv=sparse".to_owned(),
            "status=none".to_owned(),
        ]);
        // A hole at the end is lost by `conv=sparse`.
        let whole = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        whole.set_len(bytes("size")).unwrap();
        file
    }

    /// Returns the ext2, ext3 or ext4 filesystem of a partition, after checking it.
    #[track_caller]
    pub(crate) fn ext(&self, number: usize) -> Ext {
        let file = self.partition(number);
        host([os("e2fsck"), os("-fn"), file.clone().into()]);
        Ext { file, _folder: Rc::clone(&self.folder) }
    }
}

/// An ext2, ext3 or ext4 filesystem, read by `debugfs`.
pub(crate) struct Ext {
    file: PathBuf,
    /// Where the file is.
    _folder: Rc<TempDir>,
}

impl Ext {
    #[track_caller]
    fn ask(&self, request: &str) -> String {
        host([os("debugfs"), os("-R"), os(request), self.file.clone().into()])
    }

    /// Returns a file's text.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        assert!(self.has(path), "{path} is missing");
        self.ask(&format!("cat \"{path}\""))
    }

    /// Returns what `debugfs` says of a file: type, mode, owner, times, the target of a link.
    #[track_caller]
    pub(crate) fn stat(&self, path: &str) -> String {
        self.ask(&format!("stat \"{path}\""))
    }

    pub(crate) fn uuid(&self) -> String {
        let answer = self.ask("stats -h");
        let line = answer.lines().find_map(|line| line.strip_prefix("Filesystem UUID:"));
        line.unwrap_or_else(|| panic!("{answer}")).trim().to_owned()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.stat(path).contains("Inode:")
    }

    /// Returns a file's SELinux label.
    #[track_caller]
    pub(crate) fn label(&self, path: &str) -> String {
        let answer = self.ask(&format!("ea_get \"{path}\" security.selinux"));
        answer.split('"').nth(1).unwrap_or_default().trim_end_matches("\\000").to_owned()
    }

    /// Fails unless the file has this type and mode and belongs to root.
    #[track_caller]
    pub(crate) fn is_roots(&self, path: &str, kind: &str, mode: &str) {
        let stat = self.stat(path);
        let words: Vec<&str> = stat.split_whitespace().collect();
        let after = |label: &str| words[words.iter().position(|word| *word == label).unwrap() + 1];
        assert_eq!((after("Type:"), after("Mode:")), (kind, mode), "{path}: {stat}");
        assert_eq!((after("User:"), after("Group:")), ("0", "0"), "{path}: {stat}");
    }
}

fn os(word: &str) -> OsString {
    word.into()
}
