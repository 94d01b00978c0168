//! ADD: what archives may and may not do.

use std::fs::File;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType};

use crate::disk::Disk;
use crate::fixture::{append, with_tiny};
use crate::harness::{Sandbox, host};

#[test]
fn nothing_outside_of_the_destination_is_reached_by_a_hostile_archive() {
    let sandbox = with_tiny();
    let file = File::create(sandbox.path("build/evil.tar")).unwrap();
    let mut archive = Builder::new(file);
    append(&mut archive, "../escaped-up", EntryType::Regular, 0o644, "", b"x");
    append(&mut archive, "/escaped-root", EntryType::Regular, 0o644, "", b"x");
    append(&mut archive, "a/../../escaped-middle", EntryType::Regular, 0o644, "", b"x");
    append(&mut archive, "through", EntryType::Symlink, 0o777, "/etc", b"");
    append(&mut archive, "through/escaped-link", EntryType::Regular, 0o644, "", b"x");
    append(&mut archive, "through/passwd", EntryType::Regular, 0o644, "", b"x");
    archive.into_inner().unwrap();
    // Refusing the archive and unpacking it harmlessly are both fine.
    let outcome = sandbox.build("evil", "FROM tiny\nADD evil.tar /dst/\n", &[]);
    if outcome.code != Some(0) {
        let _ = outcome.exits(1).says(&["evil.tar"]);
        assert!(!sandbox.backend().join("evil").exists());
        return;
    }
    let root = Disk::open(&sandbox.backend().join("evil")).ext(1);
    for path in ["/escaped-up", "/escaped-root", "/escaped-middle", "/etc/escaped-link"] {
        assert!(!root.has(path), "{path}");
    }
    assert!(root.read("/etc/passwd").starts_with("root:"));
}

fn archive(writer: impl Write) {
    let mut archive = Builder::new(writer);
    append(&mut archive, "owned", EntryType::Regular, 0o4755, "", b"content");
    append(&mut archive, "hard", EntryType::Link, 0o4755, "owned", b"");
    append(&mut archive, "soft", EntryType::Symlink, 0o777, "owned", b"");
    append(&mut archive, "pipe", EntryType::Fifo, 0o600, "", b"");
    archive.into_inner().unwrap().flush().unwrap();
}

fn check(sandbox: &Sandbox, folders: &[&str]) {
    let root = Disk::open(&sandbox.backend().join("new")).ext(1);
    for folder in folders {
        assert_eq!(root.read(&format!("{folder}/owned")), "content");
        root.is_roots(&format!("{folder}/owned"), "regular", "04755");
        root.is_roots(&format!("{folder}/pipe"), "FIFO", "0600");
        let inode =
            |name: &str| root.stat(&format!("{folder}/{name}")).split_whitespace().nth(1).unwrap().to_owned();
        assert_eq!(inode("owned"), inode("hard"), "a hard link stays one");
        assert!(root.stat(&format!("{folder}/soft")).contains("\"owned\""));
        assert!(root.stat(&format!("{folder}/owned")).contains("2020"), "times are kept");
    }
}

#[test]
fn archives_are_known_by_name_and_by_content() {
    let sandbox = with_tiny();
    let plain = sandbox.path("build/plain.tar");
    archive(File::create(&plain).unwrap());
    archive(GzEncoder::new(File::create(sandbox.path("build/a.tgz")).unwrap(), Compression::fast()));
    // A gzip archive that its name does not show.
    std::fs::copy(sandbox.path("build/a.tgz"), sandbox.path("build/nameless")).unwrap();
    for (program, suffix) in [("xz", "xz"), ("bzip2", "bz2"), ("zstd", "zst")] {
        let from = plain.to_str().unwrap();
        host(["sh", "-c", &format!("{program} -q -c < {from} > {from}.{suffix}")]);
    }
    let steps = "FROM tiny\nADD plain.tar /1\nADD a.tgz /2\nADD nameless /3\nADD plain.tar.xz /4\n\
                 ADD plain.tar.bz2 /5\nADD plain.tar.zst /6\n";
    let _ = sandbox.build("new", steps, &[]).exits(0);
    check(&sandbox, &["/1", "/2", "/3", "/4", "/5", "/6"]);
}

#[test]
fn a_cut_archive_is_an_error() {
    let sandbox = with_tiny();
    archive(GzEncoder::new(File::create(sandbox.path("build/a.tar.gz")).unwrap(), Compression::fast()));
    let whole = std::fs::read(sandbox.path("build/a.tar.gz")).unwrap();
    sandbox.write("build/cut.tar.gz", &whole[..whole.len() / 2]);
    let _ = sandbox.build("new", "FROM tiny\nADD cut.tar.gz /\n", &[]).exits(1).says(&["cut.tar.gz"]);
    assert!(!sandbox.backend().join("new").exists());
}
