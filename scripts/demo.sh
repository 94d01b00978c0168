#!/bin/sh
# Builds two small images, lists them, and says where they are. `make demo` prepares what it needs.
set -eu

cd "$(dirname "$0")/.."
transient=${TRANSIENT:-$PWD/target/release/transient}
demo=$PWD/target/demo
[ -x "$transient" ] || { echo "error: $transient is missing: run \`make demo\`" >&2; exit 1; }

mkdir -p "$demo"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cp -r examples/scratch "$build/scratch"
scripts/busybox-rootfs.sh "$build/scratch/rootfs.tar.gz"
# The images of the demo stay apart from the user's own.
export TRANSIENT_BACKEND="$demo/backend" TRANSIENT_VMSTORE="$demo/vmstore"

show() {
    printf '\n$ transient %s\n' "$*"
    "$transient" "$@"
}

echo "An image from nothing: a disk, a filesystem, a busybox. Its Imagefile is examples/scratch/Imagefile."
show image build --name tiny "$build/scratch"
echo
echo "An image from that image. Its Imagefile is examples/layered/Imagefile."
show image build --name greeter examples/layered
show image ls

printf '\nThe images, qcow2 files that any QEMU takes:\n'
ls "$demo/backend"/* 2> /dev/null
printf '\nTo use them: export TRANSIENT_BACKEND=%s\n' "$TRANSIENT_BACKEND"
