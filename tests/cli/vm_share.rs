//! Folders of the host in a guest.

use std::fs;
use std::os::unix::fs::symlink;

use crate::tiny_vm::{TINY_VM, with_tiny_vm};
use crate::vm_run::nothing_is_left;

#[test]
fn several_folders_are_seen_and_stay_apart() {
    let sandbox = with_tiny_vm();
    sandbox.write("one/sub/file", "from the host\n");
    sandbox.write("two/file", "untouched\n");
    sandbox.write("secret", "secret\n");
    symlink(sandbox.path("secret"), sandbox.path("one/leak")).unwrap();
    let (one, two) = (sandbox.path("one").display().to_string(), sandbox.path("two").display().to_string());
    let shares = [format!("{one}:/mnt/one"), format!("{two}:/mnt/with blank:ro")];
    let command = "set -e; cat /mnt/one/sub/file '/mnt/with blank/file'; echo from the guest > /mnt/one/new; \
        mkdir /mnt/one/made; mv /mnt/one/sub/file /mnt/one/made/moved; ln -s moved /mnt/one/made/link; \
        dd if=/dev/zero of=/mnt/one/big bs=64k count=40 2> /dev/null; \
        cat /mnt/one/leak 2> /dev/null && echo leaked; \
        echo x > '/mnt/with blank/file' || echo refused";
    let arguments = [
        "run",
        TINY_VM,
        "-s",
        &shares[0],
        "--shared-folder",
        &shares[1],
        "--cmd",
        command,
        "--",
        "-m",
        "256M",
    ];
    let ran = sandbox.run(arguments).exits(0);
    assert!(ran.stdout.ends_with("\nfrom the host\nuntouched\nrefused\n"), "{ran:?}");
    assert_eq!(fs::read_to_string(sandbox.path("one/new")).unwrap(), "from the guest\n");
    assert_eq!(fs::read_to_string(sandbox.path("one/made/link")).unwrap(), "from the host\n");
    assert_eq!(fs::metadata(sandbox.path("one/big")).unwrap().len(), 40 * 65536);
    assert_eq!(fs::read_to_string(sandbox.path("two/file")).unwrap(), "untouched\n");
    nothing_is_left(&sandbox);
}

#[test]
fn what_cannot_be_shared_is_told() {
    let sandbox = with_tiny_vm();
    let run = |share: &str| sandbox.run(["run", TINY_VM, "--cmd", "true", "-s", share, "--", "-m", "256M"]);
    let _ = run("/nowhere:/mnt").exits(1).says(&["the folder '/nowhere' cannot be shared", "No such file"]);
    let _ = run("/tmp:mnt").exits(2).says(&["is no shared folder"]);
    // A place that cannot be made.
    let _ = run("/tmp:/proc/mnt").exits(1).says(&["the guest cannot mount '/tmp' at '/proc/mnt'", "sshfs"]);
    nothing_is_left(&sandbox);
}
