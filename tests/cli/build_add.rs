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
    let evil = |name: &str, members: &[(&str, EntryType, &str)]| {
        let mut archive = Builder::new(File::create(sandbox.path(format!("build/{name}"))).unwrap());
        for (path, kind, link) in members {
            append(
                &mut archive,
                path,
                *kind,
                0o644,
                link,
                if *kind == EntryType::Regular { b"x" } else { b"" },
            );
        }
        archive.into_inner().unwrap();
    };
    // Each refused for itself: the first would keep the others from being looked at.
    evil("up.tar", &[("../escaped", EntryType::Regular, "")]);
    evil("middle.tar", &[("a/../../escaped", EntryType::Regular, "")]);
    let through = |path| [("through", EntryType::Symlink, "/etc"), (path, EntryType::Regular, "")];
    evil("link.tar", &through("through/escaped"));
    evil("passwd.tar", &through("through/passwd"));
    for name in ["up.tar", "middle.tar", "link.tar", "passwd.tar"] {
        let _ = sandbox.build("evil", &format!("FROM tiny\nADD {name} /dst/\n"), &[]).exits(1).says(&[name]);
        assert!(!sandbox.backend().join("evil").exists());
    }
    evil("root.tar", &[("/etc/passwd", EntryType::Regular, "")]);
    let _ = sandbox.build("evil", "FROM tiny\nADD root.tar /dst/\n", &[]).exits(0);
    let root = Disk::open(&sandbox.backend().join("evil")).ext(1);
    assert_eq!(root.read("/dst/etc/passwd"), "x");
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
fn an_archive_without_end_fills_the_image_and_no_more() {
    let sandbox = with_tiny();
    // A bomb: some kilobytes, and more than the image's disk holds.
    let script = "cd \"$0\" && mkdir bomb && truncate -s 1G bomb/zeros && tar --zstd -cf bomb.tar.zst bomb && rm -r bomb";
    host(["sh", "-c", script, sandbox.path("build").to_str().unwrap()]);
    let outcome = sandbox.build("new", "FROM tiny\nADD bomb.tar.zst /\n", &[]).exits(1);
    let _ = outcome.says(&["No space left", "Imagefile:2:1"]);
    assert!(!sandbox.backend().join("new").exists() && sandbox.leftovers().is_empty());
}

#[test]
fn a_cut_archive_is_an_error() {
    let sandbox = with_tiny();
    archive(GzEncoder::new(File::create(sandbox.path("build/a.tar.gz")).unwrap(), Compression::fast()));
    let whole = std::fs::read(sandbox.path("build/a.tar.gz")).unwrap();
    sandbox.write("build/cut.tar.gz", &whole[..whole.len() / 2]);
    let plain = sandbox.path("build/a.tar");
    archive(File::create(&plain).unwrap());
    // In the middle of a file's content.
    sandbox.write("build/cut.tar", &std::fs::read(plain).unwrap()[..515]);
    for name in ["cut.tar.gz", "cut.tar"] {
        let imagefile = format!("FROM tiny\nADD {name} /\n");
        let _ = sandbox.build("new", &imagefile, &[]).exits(1).says(&[name, "Imagefile:2:1"]);
        assert!(!sandbox.backend().join("new").exists() && sandbox.leftovers().is_empty());
    }
}
