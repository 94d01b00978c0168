#!/bin/sh
# Builds the Python wheel, with the appliance in it. Does nothing where it is newer than all that it is made of.
# Usage: wheel.sh PROFILE FOLDER
set -eu
cd "$(dirname "$0")/.."

profile=$1
wheels=$2
tools=target/wheel-tools
appliance=python/transient/appliance

is_current() {
    [ -e "$wheels/built" ] && [ -z "$(find Cargo.* LICENSE-* src transient-core transient-guest python target/kernel/control \
        scripts/appliance_* scripts/*wheel* -type f -newer "$wheels/built" \
        -not -path "$appliance/*" -not -name '*.pyc' -print -quit)" ]
}

install_tools() {
    cmp -s scripts/wheel-requirements.txt "$tools/requirements.txt" && return
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement scripts/wheel-requirements.txt
    cp scripts/wheel-requirements.txt "$tools/requirements.txt"
}

# By the program in the profile of the tests: the appliance is the same in all.
assemble_appliance() {
    cargo build --quiet --locked --package transient
    target/debug/transient appliance build --kernel target/kernel/vmlinuz --modules target/kernel/modules \
        --output "$appliance"
    python3 scripts/appliance_contents.py "$appliance" target/kernel
}

build_wheel() {
    # The places of panics do not name this machine's folders, and the bill of materials has the oldest time of a zip.
    RUSTFLAGS="--remap-path-prefix=$PWD=transient --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=crates" \
        SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}" PATH="$PWD/$tools/bin:$PATH" \
        maturin build --manifest-path python/Cargo.toml --profile "$profile" --locked --strip \
        --target x86_64-unknown-linux-gnu --zig --compatibility manylinux2014 --compression-level 9 --out "$wheels"
}

is_current && exit 0
mkdir -p "$wheels"
rm -f "$wheels"/*.whl "$wheels"/*.tar.gz "$wheels/built"
touch "$wheels/begun"
install_tools
assemble_appliance
build_wheel
"$tools/bin/auditwheel" show "$wheels"/*.whl
python3 scripts/check_wheel.py "$wheels"/*.whl
mv "$wheels/begun" "$wheels/built"
