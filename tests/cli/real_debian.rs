//! Builds of a real distribution. They need the network and minutes: `make test` runs them, `cargo test` does not.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::disk::Disk;
use crate::harness::{Outcome, Sandbox, host};

const DEBIAN: &str = "\
FROM scratch
DISK 2 GB GPT
PARTITION 1 SIZE 2 MiB FLAGS bios_grub
PARTITION 2 FORMAT ext4 MOUNT /
ADD debian.tar.xz /
RUN apt-get update
RUN apt-get install -y --no-install-recommends nano
";

/// Puts the archive of a small Debian into the build directory.
fn rootfs(sandbox: &Sandbox) {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let archive = MADE.get_or_init(|| {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let archive = project.join("target/debian.tar.xz");
        host([project.join("scripts/debian-rootfs.sh"), archive.clone()]);
        archive
    });
    fs::copy(archive, sandbox.path("build/debian.tar.xz")).unwrap();
}

/// Returns a sandbox whose backend holds the Debian of [`DEBIAN`] as `debian`. It is built once in a test run.
fn with_debian() -> Sandbox {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let sandbox = Sandbox::new();
        rootfs(&sandbox);
        let _ = build(&sandbox, "debian", DEBIAN);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian.qcow2");
        fs::rename(sandbox.backend().join("debian"), &kept).unwrap();
        kept
    });
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.backend()).unwrap();
    fs::copy(built, sandbox.backend().join("debian")).unwrap();
    sandbox
}

#[track_caller]
fn build(sandbox: &Sandbox, name: &str, imagefile: &str) -> Outcome {
    sandbox.write("build/Imagefile", imagefile);
    sandbox.run(["image", "build", "--name", name, "build"]).exits(0)
}

#[test]
#[ignore = "needs the network, and minutes"]
fn geometry_ownership_and_an_installed_package() {
    let sandbox = with_debian();
    let disk = Disk::open(&sandbox.backend().join("debian"));
    assert_eq!(disk.table["label"], "gpt");
    assert_eq!(disk.entry(1)["type"], "21686148-6449-6E6F-744E-656564454649", "BIOS boot");
    assert_eq!(disk.entry(1)["size"], 2 * 2048);
    assert_eq!(disk.entry(2)["type"], "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux filesystem");
    let root = disk.ext(2);
    let owned = |path: &str, mode: &str, user: &str, group: &str| {
        let stat = root.stat(path);
        let words: Vec<&str> = stat.split_whitespace().collect();
        let after = |label: &str| words[words.iter().position(|word| *word == label).unwrap() + 1];
        assert_eq!((after("Mode:"), after("User:"), after("Group:")), (mode, user, group), "{path}");
    };
    owned("/usr/bin/su", "04755", "0", "0");
    owned("/usr/bin/chage", "02755", "0", "42");
    owned("/etc/shadow", "0640", "0", "42");
    owned("/var/cache/apt/archives/partial", "0700", "42", "0");
    owned("/tmp", "01777", "0", "0");
    owned("/usr/bin/nano", "0755", "0", "0");
    assert!(root.stat("/bin").contains("Fast link dest: \"usr/bin\""));
    let status = root.read("/var/lib/dpkg/status");
    let nano = status.split("\n\n").find(|package| package.starts_with("Package: nano\n")).unwrap();
    assert!(nano.contains("\nStatus: install ok installed\n"), "{nano}");
    for path in ["/dev/vda", "/proc/1", "/run/lock/lvm", "/tmp/.transient-labels"] {
        assert!(!root.has(path), "{path} is in the image");
    }
}

/// The archive's entries, as ADD unpacks them and as GNU tar does in the same guest, one by one.
#[test]
#[ignore = "needs the network, and minutes"]
fn add_unpacks_what_tar_unpacks() {
    let sandbox = with_debian();
    rootfs(&sandbox);
    odd_archive(&sandbox);
    sandbox.write(
        "build/compare.sh",
        r#"set -e
mkdir /theirs
for archive in /debian.tar.xz /odd.tar; do
    xz -dcf $archive | tar -C /theirs -xp --numeric-owner --xattrs --xattrs-include='*'
done
describe() {
    cd $1
    # A folder's own size is its filesystem's affair, and a file's blocks are not: holes stay holes.
    find . -type d -printf '%y %m %U %G %T@ %n - - %p\n' -o -printf '%y %m %U %G %T@ %n %s %l %p\n' |
        sed 's/\.0* - - / - - /' | sort -k 9
    find . -type f -links +1 -printf '%i %p\n' | sort -k 2 |
        awk '!($1 in first) { first[$1] = $2 } { print "same", first[$1], $2 }'
    find . -type b -o -type c | sort | xargs -r stat -c '%n %t:%T'
    find . -type f -print0 | sort -z | xargs -0 sha256sum
    getfattr -R -h -d -m - . 2>&1 | sort
    stat -c '%b blocks' sparse
}
(describe /ours) > /ours.txt
(describe /theirs) > /theirs.txt
wc -l < /ours.txt
diff -u /theirs.txt /ours.txt
"#,
    );
    let imagefile = "FROM debian\nRUN apt-get update && apt-get install -y --no-install-recommends attr xz-utils\n\
                     ADD debian.tar.xz /ours\nADD odd.tar /ours\nCOPY debian.tar.xz /\nCOPY odd.tar /\n\
                     COPY compare.sh /\nRUN sh /compare.sh\n";
    let outcome = build(&sandbox, "compared", imagefile);
    let lines: usize = outcome.stdout.lines().last().unwrap().trim().parse().unwrap();
    assert!(lines > 10_000, "{lines} lines were compared");
}

/// Makes an archive of what a Debian does not have, by GNU tar.
fn odd_archive(sandbox: &Sandbox) {
    let script = r#"set -e
mkdir odd
cd odd
truncate -s 64M sparse
printf middle | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
long=$(printf '%0200d' 7)
mkdir -p "$long/$long"
echo deep > "$long/$long/$long"
ln -s "$long/$long/$long" long-link
ln "$long/$long/$long" hard
mkfifo pipe
echo x > setuid; chmod 6751 setuid
echo x > "$(printf 'name with \t tab, \303\244 and \377')"
touch -d '1969-12-31 23:00:00.25 UTC' old
touch -d '2200-01-01 00:00:00.123456789 UTC' far
mkdir sticky; chmod 1777 sticky; touch -d '2001-02-03 04:05:06 UTC' sticky
echo x > attributes
python3 -c 'import os; os.setxattr("attributes", "user.note", b"a\0b\377")'
tar --create --sparse --format=posix --xattrs --sort=name --owner=1234567:7654321 --file ../build/odd.tar .
"#;
    let script = format!("cd '{}'\n{script}", sandbox.path("").display());
    host(["sh", "-c", &script]);
}

/// A build on the image of a build; its package manager works, and so do names, in every form of resolv.conf.
#[test]
#[ignore = "needs the network, and minutes"]
fn from_the_built_image() {
    let sandbox = with_debian();
    let link = "../run/systemd/resolve/stub-resolv.conf";
    std::os::unix::fs::symlink(link, sandbox.path("build/resolv.conf")).unwrap();
    let imagefile = "FROM debian\nRUN dpkg --verify nano && nano --version\n\
         COPY resolv.conf /etc/\nRUN apt-get update && apt-get install -y --no-install-recommends ed\n\
         RUN printf '%s\\n' a made . 'w /made' q | ed\n";
    let _ = build(&sandbox, "layered", imagefile);
    let disk = Disk::open(&sandbox.backend().join("layered"));
    let root = disk.ext(2);
    assert!(root.has("/usr/bin/ed") && root.has("/usr/bin/nano") && root.has("/made"));
    assert!(root.stat("/etc/resolv.conf").contains(&format!("\"{link}\"")), "the link is as it was");
    assert!(!root.has("/run/systemd"), "nothing of it is left");
}

/// What a build makes is labelled by the image's own policy: by the build that installs it, and by those after.
#[test]
#[ignore = "needs the network, and minutes"]
fn selinux_labels_are_those_of_the_policy() {
    let sandbox = with_debian();
    let install = "FROM debian\nRUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
                   --no-install-recommends selinux-policy-default policycoreutils\n";
    let outcome = build(&sandbox, "labelled", install);
    assert!(!outcome.stderr.contains("SELinux"), "{outcome:?}");
    sandbox.write("build/extra", "x");
    let change = "FROM labelled\nRUN touch /etc/new /usr/bin/new && mkdir -p /var/www/html && echo root:x | chpasswd\n\
                  COPY extra /etc/cron.d/\n";
    let outcome = build(&sandbox, "changed", change);
    assert!(!outcome.stderr.contains("SELinux"), "{outcome:?}");
    let disk = Disk::open(&sandbox.backend().join("changed"));
    let root = disk.ext(2);
    for (path, kind) in [
        ("/usr/sbin/setfiles", "setfiles_exec_t"),
        ("/etc/new", "etc_t"),
        ("/usr/bin/new", "bin_t"),
        ("/var/www/html", "httpd_sys_content_t"),
        ("/etc/shadow", "shadow_t"),
        ("/etc/cron.d/extra", "system_cron_spool_t"),
    ] {
        assert_eq!(root.label(path), format!("system_u:object_r:{kind}:s0"), "{path}");
    }
}

/// A root on a logical volume, made by the image's own tools.
#[test]
#[ignore = "needs the network, and minutes"]
fn a_root_on_a_logical_volume() {
    let sandbox = with_debian();
    rootfs(&sandbox);
    let base = "\
FROM scratch
DISK 4 GB GPT
PARTITION 1 SIZE 1 GiB FORMAT ext4 MOUNT /
PARTITION 2
ADD debian.tar.xz /
RUN apt-get update && apt-get install -y --no-install-recommends lvm2 e2fsprogs
RUN pvcreate /dev/vda2 && vgcreate system /dev/vda2
RUN lvcreate -Zn -Wn -y -n root -L 1G system && lvcreate -Zn -Wn -y -n data -L 256M system && vgmknodes
RUN mke2fs -q -t ext4 /dev/system/root && mke2fs -q -t ext4 -L data /dev/mapper/system-data
RUN mount /dev/system/root /mnt && cp -ax /bin /etc /lib /lib64 /usr /var /mnt && mkdir /mnt/data \
    && echo '/dev/system/data /data ext4 defaults 0 2' > /mnt/etc/fstab && umount /mnt
RUN rm /etc/fstab /etc/os-release /usr/lib/os-release /bin/sh
";
    let _ = build(&sandbox, "volumes", base);
    let _ = build(
        &sandbox,
        "new",
        "FROM volumes\nRUN grep ' / ' /proc/mounts | grep system-root && grep ' /data ' /proc/mounts\n\
         RUN echo kept > /data/kept\n",
    );
    let outcome = build(&sandbox, "again", "FROM new\nRUN cat /data/kept\n");
    assert!(outcome.stdout.ends_with("\nkept\n"), "{outcome:?}");
}

/// A root on a btrfs subvolume, as openSUSE and Fedora have it, and another that fstab lists.
#[test]
#[ignore = "needs the network, and minutes"]
fn a_root_on_a_subvolume() {
    let sandbox = with_debian();
    rootfs(&sandbox);
    let base = "\
FROM scratch
DISK 4 GB GPT
PARTITION 1 SIZE 1 GiB FORMAT ext4 MOUNT /
PARTITION 2 FORMAT btrfs OPTIONS \"-L system\" MOUNT /mnt
ADD debian.tar.xz /
RUN apt-get update && apt-get install -y --no-install-recommends btrfs-progs
RUN btrfs subvolume create /mnt/@ && btrfs subvolume create /mnt/@home
RUN cp -ax /bin /etc /lib /lib64 /usr /var /mnt/@ && mkdir /mnt/@/home \
    && echo 'LABEL=system / btrfs subvol=@ 0 0' > /mnt/@/etc/fstab \
    && echo 'LABEL=system /home btrfs subvol=/@home 0 0' >> /mnt/@/etc/fstab
RUN rm /etc/fstab /etc/os-release /usr/lib/os-release /bin/sh
";
    let _ = build(&sandbox, "subvolumes", base);
    let imagefile = "FROM subvolumes\nRUN grep ' / btrfs .*subvol=/@ ' /proc/mounts\n\
                     RUN grep ' /home btrfs .*subvol=/@home ' /proc/mounts && echo kept > /home/kept\n";
    let _ = build(&sandbox, "new", imagefile);
    let outcome = build(&sandbox, "again", "FROM new\nRUN cat /home/kept\n");
    assert!(outcome.stdout.ends_with("\nkept\n"), "{outcome:?}");
}

/// The example is a VM that boots by itself.
#[test]
#[ignore = "needs the network, and minutes"]
fn the_example_boots_by_itself() {
    let sandbox = Sandbox::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/debian");
    host([OsStr::new("cp"), OsStr::new("-rT"), example.as_os_str(), sandbox.path("build").as_os_str()]);
    rootfs(&sandbox);
    let _ = sandbox.run(["image", "build", "--name", "debian/12", "build"]).exits(0);
    let command = "hostname && sudo -n id -un && cat /shared/greeting && ls -A /var/lib/apt/lists";
    let share = sandbox.write("share/greeting", "hello\n");
    let share = format!("{}:/shared", share.parent().unwrap().display());
    let arguments =
        ["run", "debian/12", "--memory", "1GiB", "--ssh-command", command, "--shared-folder", &share];
    let outcome = sandbox.run(arguments).exits(0);
    assert!(outcome.stdout.ends_with("debian\nroot\nhello\n"), "{outcome:?}");
}
