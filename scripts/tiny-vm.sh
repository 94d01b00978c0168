#!/bin/sh
# Makes a build directory of a tiny Linux system that boots on its own in seconds, for tests. Needs no root.
#   scripts/tiny-vm.sh FOLDER
#   transient image build --name tiny/vm FOLDER
#
# It is a busybox, Debian's or Ubuntu's kernel, and of their packages: an SSH server (dropbear, with sftp), sudo and
# sshfs. `root` and `vagrant` are let in by vagrant's well-known key; `vagrant` may do all by sudo. A root shell waits
# on the serial console.
set -eu

fail() { printf 'tiny-vm: %s\n' "$*" >&2; exit 1; }

output=${1:?usage: scripts/tiny-vm.sh FOLDER}
project=$(cd "$(dirname "$0")/.." && pwd)
files=$project/scripts/tiny-vm
packages=$project/target/tiny-vm-packages
kernel=$project/target/kernel

# Drivers of disks, of the network card, of what stirs the random numbers and of the power button.
MODULES="virtio_pci virtio_scsi sd_mod virtio_blk ata_piix virtio_net virtio-rng button evdev fuse"
PROGRAMS="usr/sbin/dropbear usr/bin/dropbearkey usr/lib/openssh/sftp-server usr/bin/sudo usr/bin/sshfs
    usr/bin/fusermount3"
PLUGINS="usr/libexec/sudo/sudoers.so usr/lib/x86_64-linux-gnu/security/pam_permit.so"

busybox=$(command -v busybox) || fail "busybox is missing: install busybox-static"
"$project/scripts/kernel.sh" "$kernel"

# Downloads and unpacks, without installing them, packages and the libraries that they need.
unpack_packages() {
    [ ! -d "$packages" ] || return 0
    mkdir -p "$project/target"
    work=$(mktemp -d "$packages-XXXXXX")
    chmod 755 "$work"
    # some releases have these apart
    mkdir -p "$work/usr/bin" "$work/usr/sbin" "$work/usr/lib" "$work/usr/lib64"
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$work/"
    wanted="dropbear-bin openssh-sftp-server sudo sshfs fuse3 extlinux"
    # shellcheck disable=SC2086 # a list of words
    libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances $wanted | grep '^lib' | grep -v -e perl -e '-common$' -e '-bin$')
    # shellcheck disable=SC2086 # lists of words
    (cd "$work" && apt-get download -q -o APT::Sandbox::User=root $wanted $libraries >&2)
    for package in "$work"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --no-same-owner --directory "$work"
        rm "$package"
    done
    mv -T "$work" "$packages"
}

# Prints the shared libraries of a program of the packages, as their loader finds them.
libraries_of() {
    "$packages/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --list --library-path \
        "$packages/usr/lib/x86_64-linux-gnu:$packages/usr/libexec/sudo" "$1" |
        sed -n 's/.* => \(.*\) (0x.*/\1/p'
}

add_busybox() {
    mkdir -p "$1/bin"
    cp "$busybox" "$1/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
}

# Copies a module and what it depends on, unpacked.
add_module() {
    found=$(find "$kernel/modules/" -name "$(printf '%s' "$1" | tr '_-' '??').ko*" | head -n1)
    # what is not there is built in
    [ -n "$found" ] || return 0
    copy=$modules/$(basename "${found%.ko*}").ko
    [ ! -e "$copy" ] || return 0
    case $found in
        *.zst) zstd -qdc "$found" >"$copy" ;;
        *.xz) xz -dc "$found" >"$copy" ;;
        *) cp "$found" "$copy" ;;
    esac
    for needed in $(tr '\0' '\n' <"$copy" | sed -n 's/^depends=//p' | tr ',' ' '); do
        add_module "$needed"
    done
}

make_initramfs() {
    early=$work/early
    release=$(basename "$(readlink -f "$kernel/modules")")
    modules=$early/lib/modules/$release
    mkdir -p "$modules" "$early/dev" "$early/proc" "$early/sys" "$early/root"
    add_busybox "$early"
    for module in $MODULES; do
        add_module "$module"
    done
    "$busybox" depmod -b "$early" "$release"
    (cd "$modules" && ls ./*.ko | sed 's,^./,,; s,\.ko$,,') >"$early/modules"
    install -m 755 "$files/initramfs-init" "$early/init"
    (cd "$early" && find . | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null | gzip -9)
}

add_programs() {
    mkdir -p "$root/lib64" "$root/usr/lib/x86_64-linux-gnu" "$root/usr/libexec/sudo"
    cp "$packages/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"
    for file in $PROGRAMS $PLUGINS; do
        install -D "$packages/$file" "$root/$file"
        for library in $(libraries_of "$packages/$file"); do
            cp -L "$library" "$root/usr/lib/x86_64-linux-gnu/"
        done
    done
    # nothing but the programs is in the search path of their loader
    mv "$root/usr/lib/x86_64-linux-gnu"/libsudo_util.so* "$root/usr/libexec/sudo/"
    chmod 4755 "$root/usr/bin/sudo" "$root/usr/bin/fusermount3"
}

add_settings() {
    mkdir -p "$root/etc/acpi/PWRF" "$root/etc/pam.d" "$root/etc/dropbear" "$root/sbin"
    cp "$files/inittab" "$files/profile" "$root/etc/"
    install -m 755 "$files/rc" "$files/rc.shutdown" "$files/ssh-server" "$root/etc/"
    ln -s ../bin/init "$root/sbin/init"
    printf '%s\n' '#!/bin/sh' 'exec poweroff' >"$root/etc/acpi/PWRF/00000080"
    chmod 755 "$root/etc/acpi/PWRF/00000080"
    ln -s /proc/self/mounts "$root/etc/mtab"
    echo tiny >"$root/etc/hostname"
    echo '127.0.0.1 localhost tiny' >"$root/etc/hosts"
    echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
    echo 'LABEL=tiny / ext4 noatime 0 1' >"$root/etc/fstab"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'vagrant:x:1000:1000::/home/vagrant:/bin/sh' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'vagrant:x:1000:' >"$root/etc/group"
    printf '%s\n' 'root:*::0:99999:7:::' 'vagrant:*::0:99999:7:::' >"$root/etc/shadow"
    printf '%s\n' 'Defaults secure_path="/usr/sbin:/usr/bin:/sbin:/bin"' 'root ALL=(ALL:ALL) NOPASSWD: ALL' \
        'vagrant ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers"
    printf '%s required pam_permit.so\n' auth account password session >"$root/etc/pam.d/other"
    echo user_allow_other >"$root/etc/fuse.conf"
    chmod 440 "$root/etc/sudoers"
    chmod 600 "$root/etc/shadow"
    for home in root home/vagrant; do
        mkdir -p "$root/$home/.ssh"
        cp "$files/authorized_keys" "$root/$home/.ssh/"
        chmod 700 "$root/$home" "$root/$home/.ssh"
        chmod 600 "$root/$home/.ssh/authorized_keys"
    done
}

add_boot_loader() {
    mkdir -p "$root/boot/extlinux"
    cp "$files/extlinux.conf" "$packages/usr/lib/EXTLINUX/mbr.bin" "$root/boot/extlinux/"
    cp "$packages/usr/bin/extlinux" "$root/usr/bin/"
    cp -L "$kernel/vmlinuz" "$root/boot/vmlinuz"
    make_initramfs >"$root/boot/initramfs"
}

unpack_packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
umask 022
root=$work/root
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/mnt" "$root/var" "$root/tmp"
chmod 1777 "$root/tmp"
add_busybox "$root"
add_programs
add_settings
add_boot_loader
ln -s usr/lib "$root/lib"
mkdir -p "$output"
cp "$files/Imagefile" "$output/"
archive=$work/rootfs.tar
tar --create --owner=0 --group=0 --numeric-owner --sort=name --exclude=./home/vagrant --file "$archive" --directory "$root" .
tar --append --owner=1000 --group=1000 --numeric-owner --file "$archive" --directory "$root" ./home/vagrant
gzip -1 <"$archive" >"$output/rootfs.tar.gz"
