//! Descriptions of block nodes: what QEMU and `qemu-img` open, with nothing left to the files themselves.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A qcow2 file that is written to. If it is not `durable`, nobody needs it after a crash.
pub(crate) fn writable(path: &Path, name: &str, durable: bool) -> Value {
    json!({
        "node-name": name,
        "driver": "qcow2",
        "discard": "unmap",
        "cache": { "no-flush": !durable },
        "file": {
            "driver": "file",
            "filename": text(path),
            "discard": "unmap",
            "cache": { "no-flush": !durable },
        },
        "backing": null,
    })
}

/// A disk of no use, which takes no place.
pub(crate) fn nothing(name: &str) -> Value {
    json!({ "node-name": name, "driver": "null-co", "size": 1 << 20, "read-zeroes": true })
}

/// qcow2 files that stand on each other, the lowest first; `None` when there are none.
pub(crate) fn chain(files: &[PathBuf]) -> Option<Value> {
    files.iter().fold(None, |below, path| {
        Some(json!({
            "driver": "qcow2",
            "read-only": true,
            "file": { "driver": "file", "filename": text(path), "read-only": true },
            "backing": below,
        }))
    })
}

/// JSON cannot carry bytes that are not UTF-8; working files are named by us, in folders that people name.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
