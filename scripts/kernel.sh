#!/bin/sh
# Downloads and unpacks, without installing it, the distribution's kernel for virtual machines:
#   scripts/kernel.sh FOLDER
# FOLDER gets `vmlinuz` and `modules`, links into what was unpacked, and `control`, what the packages say of
# themselves. Does nothing where they are.
set -eu

fail() { printf 'kernel: %s\n' "$*" >&2; exit 1; }

folder=${1:?usage: scripts/kernel.sh FOLDER}
if [ -r "$folder/vmlinuz" ] && [ -d "$folder/modules/" ] && [ -r "$folder/control" ]; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail "a kernel can be downloaded on Debian and Ubuntu only; elsewhere run
    transient appliance build --kernel FILE --modules FOLDER --output target/appliance"

# Follows a meta package to the packages of one kernel.
depends() {
    apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null | awk '$1 == "Depends:" { print $2 }'
}

packages() {
    image=$(depends linux-image-cloud-amd64 | grep '^linux-image-.*-cloud-amd64$' | head -n1)
    if [ -n "$image" ]; then
        echo "$image"
        return
    fi
    image=$(depends linux-image-virtual | grep '^linux-image-.*-generic$' | head -n1)
    if [ -n "$image" ]; then
        # virtual machines' filesystems are partly in the extra modules
        release=${image#linux-image-}
        echo "$image linux-modules-$release"
        apt-cache show "linux-modules-extra-$release" >/dev/null 2>&1 && echo "linux-modules-extra-$release"
    fi
}

wanted=$(packages)
if [ -z "$wanted" ]; then
    # apt's lists may never have been fetched
    if [ "$(id -u)" = 0 ]; then apt-get update -q >&2; else sudo apt-get update -q >&2; fi
    wanted=$(packages)
fi
[ -n "$wanted" ] || fail "apt knows neither linux-image-cloud-amd64 nor linux-image-virtual"

parent=$(dirname "$folder")
mkdir -p "$parent"
work=$(mktemp -d "$parent/.kernel-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# apt's own user cannot write here, and would warn
chmod 755 "$work"
# shellcheck disable=SC2086 # a list of words
(cd "$work" && apt-get download -q -o APT::Sandbox::User=root $wanted >&2)
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work"
    { dpkg-deb -f "$package"; echo; } >> "$work/control"
    rm "$package"
done

kernel=$(cd "$work" && ls boot/vmlinuz-* | head -n1)
release=${kernel#boot/vmlinuz-}
for modules in "lib/modules/$release" "usr/lib/modules/$release"; do
    [ -d "$work/$modules" ] && break
done
[ -d "$work/$modules" ] || fail "the package of the kernel $release has no modules"
ln -s "$kernel" "$work/vmlinuz"
ln -s "$modules" "$work/modules"
rm -rf "$folder"
mv "$work" "$folder"
