#!/bin/sh
# Installs a wheel where there is little more than Python and QEMU - no kernel, no filesystem tools, no compiler, no
# network, no root - and builds images there. Needs root or sudo, for debootstrap and the chroot.
# Usage: test-wheel.sh WHEEL
set -eu
cd "$(dirname "$0")/.."

wheel=$1
root=$PWD/target/wheel-root
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

# In a chroot, / may be no mount, whose propagation could be set.
propagation=private
mountpoint -q / || propagation=unchanged

# Kept for the next time; the name of a folder that is whole.
make_root() {
    [ ! -d "$root" ] || return 0
    printf 'test-wheel: making %s\n' "$root" >&2
    $as_root rm -rf "$root.new"
    # What debootstrap mounts is gone with its namespace, also when it is interrupted.
    $as_root unshare --mount --propagation "$propagation" debootstrap --variant=minbase \
        --include=python3,python3-venv,qemu-system-x86,qemu-utils bookworm "$root.new" http://deb.debian.org/debian \
        > "$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
    $as_root chroot "$root.new" dpkg --purge --force-remove-protected --force-depends e2fsprogs >> "$root.log" 2>&1
    $as_root sh -c "rm -rf '$root.new/var/cache/apt/archives/'*.deb '$root.new/var/lib/apt/lists/'*"
    $as_root mv "$root.new" "$root"
}

fill() {
    $as_root rm -rf "$root/test"
    $as_root install -d "$root/test/build" "$root/test/home"
    $as_root cp "$wheel" scripts/test-wheel-inside.sh "$root/test"
    $as_root cp examples/scratch/Imagefile "$root/test/build"
    rootfs=$(mktemp)
    trap 'rm -f "$rootfs"' EXIT
    scripts/busybox-rootfs.sh "$rootfs"
    $as_root install -m 644 "$rootfs" "$root/test/build/rootfs.tar.gz"
    $as_root chown -R 1000:1000 "$root/test"
}

make_root
fill
# All mounts and processes go with the namespaces, whatever happens.
$as_root unshare --mount --propagation "$propagation" --pid --net --fork --kill-child --mount-proc --root "$root" \
    --setgid 1000 --setuid 1000 env -i HOME=/test/home PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/sh /test/test-wheel-inside.sh
$as_root rm -rf "$root/test"
