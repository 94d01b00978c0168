//! Builds from an image, with COPY.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::disk::{Disk, Ext};
use crate::fixture::with_tiny;
use crate::harness::Sandbox;

#[track_caller]
fn built(sandbox: &Sandbox, steps: &str) -> Ext {
    let _ = sandbox.build("new", &format!("FROM tiny\n{steps}"), &[]).exits(0);
    Disk::open(&sandbox.backend().join("new")).ext(1)
}

#[test]
fn folders_links_and_modes() {
    let sandbox = with_tiny();
    let tool = sandbox.write("build/app/bin/tool", "#!/bin/sh\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4750)).unwrap();
    sandbox.write("build/app/etc/settings", "a=1\n");
    fs::create_dir(sandbox.path("build/app/empty")).unwrap();
    symlink("/outside/of/all", sandbox.path("build/app/link")).unwrap();
    let root = built(&sandbox, "COPY app /opt/app\nRUN cat /opt/app/etc/settings > /root/read\n");
    root.is_roots("/opt/app", "directory", "0755");
    root.is_roots("/opt/app/bin/tool", "regular", "04750");
    root.is_roots("/opt/app/empty", "directory", "0755");
    assert!(root.stat("/opt/app/link").contains("\"/outside/of/all\""), "links are copied as links");
    assert_eq!(root.read("/root/read"), "a=1\n");
}

#[test]
fn several_sources_into_a_folder() {
    let sandbox = with_tiny();
    sandbox.write("build/one", "1");
    sandbox.write("build/two", "2");
    let root = built(&sandbox, "RUN mkdir /dst\nCOPY one two /dst\nCOPY one two /made/\n");
    for (path, content) in [("/dst/one", "1"), ("/dst/two", "2"), ("/made/one", "1"), ("/made/two", "2")] {
        assert_eq!(root.read(path), content);
    }
}

#[test]
fn a_file_onto_a_name_and_into_a_folder() {
    let sandbox = with_tiny();
    sandbox.write("build/file", "new");
    let root = built(&sandbox, "COPY file /etc/renamed\nCOPY file /root\nCOPY file /etc/group\n");
    assert_eq!(root.read("/etc/renamed"), "new");
    assert_eq!(root.read("/root/file"), "new");
    assert_eq!(root.read("/etc/group"), "new", "what is there is replaced");
}

#[test]
fn names_with_blanks_and_quotes() {
    let sandbox = with_tiny();
    sandbox.write("build/two words", "w");
    sandbox.write("build/it's", "q");
    let root = built(&sandbox, "COPY \"two words\" it\\'s '/in a folder/'\n");
    assert_eq!(root.read("/in a folder/two words"), "w");
    assert_eq!(root.read("/in a folder/it's"), "q");
}

#[test]
fn links_in_the_image_stay_in_the_image() {
    let sandbox = with_tiny();
    sandbox.write("build/file", "x");
    let root = built(&sandbox, "RUN mkdir /real && ln -s /real /var/link\nCOPY file /var/link/file\n");
    assert_eq!(root.read("/real/file"), "x");
}

#[test]
fn the_base_stays_as_it_was() {
    let sandbox = with_tiny();
    let before = fs::read(sandbox.backend().join("tiny")).unwrap();
    let _ = built(&sandbox, "RUN echo more > /more\n");
    assert!(fs::read(sandbox.backend().join("tiny")).unwrap() == before);
}

#[test]
fn a_base_from_a_file() {
    let sandbox = with_tiny();
    fs::rename(sandbox.backend().join("tiny"), sandbox.path("base.qcow2")).unwrap();
    let imagefile = format!("FROM other,file={}\nRUN true\n", sandbox.path("base.qcow2").display());
    let _ = sandbox.build("new", &imagefile, &[]).exits(0);
    let list = sandbox.run(["image", "ls"]).exits(0);
    assert!(list.stdout.contains("\n new ") && list.stdout.contains("\n other "), "{list:?}");
}
