#!/bin/sh
# Builds the examples in C and C++ as users do, against an installation, and an image with each of them.
# Usage: test-install.sh PREFIX
set -eu
cd "$(dirname "$0")/.."

prefix=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"

meson setup "$work/c" examples/c > "$work/log" && meson compile -C "$work/c" >> "$work/log" || { cat "$work/log"; exit 1; }
cmake -S examples/cpp -B "$work/cpp" >> "$work/log" && cmake --build "$work/cpp" >> "$work/log" || { cat "$work/log"; exit 1; }

mkdir "$work/image"
scripts/busybox-rootfs.sh "$work/image/rootfs.tar.gz"
cat > "$work/image/Imagefile" <<END
FROM scratch
DISK 64 MB MBR
PARTITION 1 FORMAT ext4 MOUNT /
ADD rootfs.tar.gz /
RUN echo "hello from \$(uname)"
END

# Nothing but the installation: the library finds the appliance beside itself.
clean() { env -i HOME="$home" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
for program in c cpp; do
    # Each is to build, and not to find what the other has built.
    home=$work/home-$program
    mkdir "$home"
    clean "$work/$program/build" "$work/image" "built-in-$program" | tee "$work/output"
    grep -q '^hello from Linux$' "$work/output"
    grep -q "^$home/.local/share/transient/backend/built%2Din%2D$program\$" "$work/output"
done
clean "$prefix/bin/transient" image ls --format json | grep -q built-in-cpp
test -s "$prefix/share/man/man1/transient-image-build.1"
test -s "$prefix/share/bash-completion/completions/transient"
echo "the examples in C and C++ work with what is installed in $prefix"
