#!/bin/sh
# Installs the system packages that are missing, on Debian 12 and Ubuntu 24.04. Changes nothing where
# all are there. Needs root or sudo only if something is missing.
set -eu

RUST_NEEDED="1.89"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

check_rust() {
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        fail "no Rust toolchain was found; install Rust $RUST_NEEDED or newer from https://rustup.rs"
    found=$(rustc --version | cut -d' ' -f2)
    oldest=$(printf '%s\n%s\n' "$RUST_NEEDED" "$found" | sort -V | head -n1)
    [ "$oldest" = "$RUST_NEEDED" ] || fail "Rust $found is too old, $RUST_NEEDED or newer is needed (rustup update)"
    for component in rustfmt clippy; do
        cargo ${component#rust} --version >/dev/null 2>&1 ||
            fail "$component is missing (rustup component add $component)"
    done
}

# The packages, each by a file that it brings.
# - to build: gcc with the libc that is linked statically into the guest program, make
# - to run: QEMU
# - to assemble the appliance: the filesystem tools; dpkg-deb and apt-get are there
# - for the tests: tools that are not ours to look into images, and a small root filesystem; what C and C++
#   programs are built and checked with
missing_packages() {
    while read -r package program; do
        found=no
        for folder in /usr/bin /usr/sbin /bin /sbin; do
            [ -e "$folder/$program" ] && found=yes
        done
        [ "$found" = yes ] || echo "$package"
    done <<END
gcc gcc
make make
qemu-system-x86 qemu-system-x86_64
qemu-utils qemu-img
e2fsprogs mke2fs
xfsprogs mkfs.xfs
dosfstools mkfs.vfat
btrfs-progs mkfs.btrfs
lvm2 lvm
fdisk sfdisk
util-linux blkid
mtools mcopy
debootstrap debootstrap
busybox-static busybox
xz-utils xz
bzip2 bzip2
zstd zstd
python3 python3
iproute2 ss
openssh-client ssh-keygen
g++ g++
clang clang
valgrind valgrind
pkg-config pkg-config
cmake cmake
meson meson
END
    [ -e /usr/include/stdio.h ] && [ -e /usr/lib/x86_64-linux-gnu/libc.a ] || echo libc6-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "root is needed to install the packages; run this as root, or install sudo: $*"
    fi
}

# The parts of QEMU must all be of one version. Where some came from another suite than what apt would
# pick for the rest, all are set to the newest version that all of them have.
install_qemu() {
    if apt-get install -s --no-install-recommends "$@" qemu-system-x86 qemu-utils >/dev/null 2>&1; then
        as_root apt-get install -y --no-install-recommends "$@" qemu-system-x86 qemu-utils
        return
    fi
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'qemu-*' 2>/dev/null | sed -n 's/^ii *//p')
    for version in $(apt-cache madison qemu-system-x86 | awk '{ print $3 }' | sort -urV); do
        pinned=""
        for part in $(printf '%s\n' qemu-system-x86 qemu-system-common qemu-system-data qemu-utils $installed | sort -u); do
            if apt-cache madison "$part" | awk '{ print $3 }' | grep -Fxq -e "$version" -e "${version%+b*}"; then
                found=$(apt-cache madison "$part" | awk '{ print $3 }' | grep -Fx -e "$version" -e "${version%+b*}")
                pinned="$pinned $part=$(printf '%s\n' "$found" | sort -V | tail -n1)"
            fi
        done
        # shellcheck disable=SC2086 # a list of words
        if apt-get install -s --no-install-recommends --allow-downgrades "$@" $pinned >/dev/null 2>&1; then
            say "all parts of QEMU are set to version $version"
            as_root apt-get install -y --no-install-recommends --allow-downgrades "$@" $pinned
            return
        fi
    done
    # for what apt-get says about it
    as_root apt-get install -y --no-install-recommends "$@" qemu-system-x86 qemu-utils
}

install() {
    command -v apt-get >/dev/null ||
        fail "these packages are missing, and only apt-get is known here: $*"
    say "installing: $*"
    as_root apt-get update -q
    case " $* " in
        *" qemu-"*)
            others=$(printf '%s\n' "$@" | grep -v '^qemu-' || true)
            # shellcheck disable=SC2086 # a list of words
            install_qemu $others
            ;;
        *) as_root apt-get install -y --no-install-recommends "$@" ;;
    esac
}

[ "$(uname -m)" = x86_64 ] || fail "only x86_64 is supported"
check_rust
missing=$(missing_packages | sort -u | tr '\n' ' ')
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # a list of words
    install $missing
fi
