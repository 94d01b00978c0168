#!/bin/sh
# Makes an archive of a small Debian, for the tests and the benchmark. Needs root or sudo, for debootstrap.
#   scripts/debian-rootfs.sh FILE.tar.xz
# Does nothing where FILE is.
set -eu

file=${1:?usage: scripts/debian-rootfs.sh FILE.tar.xz}
[ ! -f "$file" ] || exit 0
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

root=$(mktemp -d)
trap '$as_root rm -rf "$root" "$file.new"' EXIT
trap 'exit 130' INT TERM
printf 'debian-rootfs: making %s\n' "$file" >&2
$as_root debootstrap --variant=minbase bookworm "$root/debian" http://deb.debian.org/debian >"$root/log" 2>&1 ||
    { cat "$root/log" >&2; exit 1; }
# What a first `apt-get update` fetches anew.
$as_root sh -c "rm -rf '$root/debian/var/cache/apt/archives/'*.deb '$root/debian/var/lib/apt/lists/'*"
echo '# The root is the only filesystem.' | $as_root tee "$root/debian/etc/fstab" >/dev/null
mkdir -p "$(dirname "$file")"
$as_root tar --create --xz --numeric-owner --xattrs --directory "$root/debian" . >"$file.new"
mv "$file.new" "$file"
