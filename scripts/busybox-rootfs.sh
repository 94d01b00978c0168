#!/bin/sh
# Packs a tiny Linux system, a static busybox and little more, as a .tar.gz. Needs no root.
# Usage: busybox-rootfs.sh OUTPUT.tar.gz
set -eu

output=$1
busybox=$(command -v busybox) || { echo "error: busybox is missing: install busybox-static" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/proc" "$root/root" "$root/run" "$root/sys" "$root/tmp" "$root/var"
# `mktemp` keeps its folder from others; a root folder must not.
chmod 755 "$root"
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
# A dynamic busybox would not start without its libraries.
if LC_ALL=C ldd "$busybox" > /dev/null 2>&1; then
    echo "error: $busybox needs shared libraries: install busybox-static" >&2
    exit 1
fi
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
echo '# The root is the only filesystem.' > "$root/etc/fstab"
tar --create --gzip --owner=0 --group=0 --numeric-owner --sort=name --file "$output" --directory "$root" .
