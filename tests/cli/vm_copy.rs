//! Copies from and to the disks of VMs that do not run.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::harness::{Sandbox, host};
use crate::tiny_vm::{TINY_VM, with_tiny_vm};
use crate::vm_run::nothing_is_left;
use crate::vm_store::create;

/// Makes a folder with all kinds of things in it.
fn tree(sandbox: &Sandbox) {
    sandbox.write("tree/folder/tool", "#!/bin/sh\n");
    symlink("folder/tool", sandbox.path("tree/link")).unwrap();
    symlink("/nowhere", sandbox.path("tree/dangling")).unwrap();
    fs::hard_link(sandbox.path("tree/folder/tool"), sandbox.path("tree/again")).unwrap();
    sandbox.write(&format!("tree/{}", "n".repeat(200)), "long\n");
    fs::create_dir(sandbox.path("tree/empty")).unwrap();
    host(["chown", "-hR", "1234:5678", sandbox.path("tree").to_str().unwrap()]);
    // In this order: a change of the owner takes the bit away.
    fs::set_permissions(sandbox.path("tree/folder/tool"), fs::Permissions::from_mode(0o4751)).unwrap();
}

#[test]
fn a_tree_goes_in_and_comes_back_as_it_was() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    tree(&sandbox);
    sandbox.write("one", "1\n");
    fs::create_dir(sandbox.path("back")).unwrap();
    let _ = sandbox.run(["cp", "tree", "one", "web:/home/vagrant"]).exits(0);
    let disk = sandbox.vmstore().join("web/web-0-tiny%2Fvm");
    host(["qemu-img", "check", "-q", disk.to_str().unwrap()]);
    let before = fs::read(&disk).unwrap();
    let _ = sandbox.run(["cp", "web:/home/vagrant/tree", "web:/home/vagrant/one", "back"]).exits(0);
    assert!(fs::read(&disk).unwrap() == before, "copying out changes nothing");

    let (tool, again) = (sandbox.path("back/tree/folder/tool"), sandbox.path("back/tree/again"));
    let (found, other) = (fs::metadata(&tool).unwrap(), fs::metadata(again).unwrap());
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1234, 5678, 0o4751));
    assert_eq!((found.ino(), found.nlink()), (other.ino(), 2));
    assert_eq!(fs::read_link(sandbox.path("back/tree/link")).unwrap().to_str(), Some("folder/tool"));
    assert_eq!(fs::read_link(sandbox.path("back/tree/dangling")).unwrap().to_str(), Some("/nowhere"));
    let original = fs::metadata(sandbox.path("tree/folder/tool")).unwrap();
    assert_eq!((found.mtime(), found.mtime_nsec()), (original.mtime(), original.mtime_nsec()));
    host(["diff", "-r", "--no-dereference", "tree", "back/tree"].iter().map(|word| {
        if word.contains("tree") { sandbox.path(word).display().to_string() } else { (*word).to_owned() }
    }));
    assert_eq!(fs::read_to_string(sandbox.path("back/one")).unwrap(), "1\n");

    // The guest sees the same.
    let seen =
        sandbox.run(["start", "web", "--cmd", "stat -c '%u %g %a' tree/folder/tool; cat one"]).exits(0);
    assert!(seen.stdout.ends_with("\n1234 5678 4751\n1\n"), "{seen:?}");
    nothing_is_left(&sandbox);
}

#[test]
fn copies_before_and_after_a_run_need_no_name() {
    let sandbox = with_tiny_vm();
    sandbox.write("in", "from the host\n");
    fs::create_dir(sandbox.path("out")).unwrap();
    let arguments =
        ["run", TINY_VM, "-b", "in:/home/vagrant/renamed", "-a", "/home/vagrant/result:out", "--rsync"];
    let command = ["--cmd", "cat renamed > result; exit 6", "--", "-m", "256M"];
    let _ = sandbox.run([&arguments[..], &command].concat()).exits(6);
    assert_eq!(fs::read_to_string(sandbox.path("out/result")).unwrap(), "from the host\n");
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 0, "the VM is gone");
    // What is not there is told, though the command went well.
    let command = ["run", TINY_VM, "-a", "/nowhere:out", "--cmd", "true", "--", "-m", "256M"];
    let _ = sandbox.run(command).exits(1).says(&["cannot copy /nowhere in the VM to 'out'", "No such file"]);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 0, "the VM is gone");
    nothing_is_left(&sandbox);
}

#[test]
fn mistakes_are_told_before_anything_boots() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let _ = sandbox
        .run(["cp", "missing", "web:/tmp"])
        .exits(1)
        .says(&["cannot copy 'missing' to /tmp", "No such file"]);
    let _ = sandbox.run(["cp", "web:/etc/fstab", "no/such/folder"]).exits(1).says(&["no/such"]);
    let said = sandbox.run(["cp", "a", "b"]).exits(1);
    let _ = said.says(&["error: If destination is not a VM path, all source paths must be VM paths"]);
    let said = sandbox.run(["cp", "web:/a", "web:/b"]).exits(1);
    let _ = said.says(&["error: If destination is a VM path, all source paths must not be VM paths"]);
    let _ = sandbox.run(["run", TINY_VM, "-b", "a:b"]).exits(2).says(&["is no copy into a VM"]);
    let _ = sandbox
        .run(["run", TINY_VM, "-b", "missing:/b", "--cmd", "true"])
        .exits(1)
        .says(&["cannot read 'missing'"]);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 1);
}
