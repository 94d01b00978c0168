#!/bin/sh
# Measures the same work through the command line, C and Python, as they are installed.
# Usage: bench-faces.sh PREFIX PYTHON [--runs N]
set -eu
cd "$(dirname "$0")/.."

prefix=$1
python=$2
shift 2
bench=$PWD/target/bench
mkdir -p "$bench"
scripts/busybox-rootfs.sh "$bench/rootfs.tar.gz"
# shellcheck disable=SC2046 # a list of flags
PKG_CONFIG_PATH="$prefix/lib/pkgconfig" cc -O2 -o "$bench/build-in-c" examples/c/build.c \
    $(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs transient) "-Wl,-rpath,$prefix/lib"
exec python3 scripts/bench_faces.py --transient "$prefix/bin/transient" --c-program "$bench/build-in-c" \
    --python "$python" --rootfs "$bench/rootfs.tar.gz" "$@"
