#!/bin/sh
# Measures transient beside release 0.25 of the Python tool, guestfish and what the machine allows.
# Usage: bench.sh [--quick] [--only TABLE,...] [--runs N] [--peer-runs N] [--output FILE] [--without-old]
#        bench.sh --pull [--without-old] [--runs N] [--size MIB]
# What it needs is put into target/bench. As root, it installs libguestfs-tools and debootstrap where they are missing;
# a program that is not there is told in the tables, and the rest is measured.
set -eu

cd "$(dirname "$0")/.."
bench=$PWD/target/bench
transient=${TRANSIENT:-$PWD/target/release/transient}
pull=no
old=yes
for argument; do
    shift
    case $argument in
        --pull) pull=yes ;;
        --without-old) old=no ;;
        *) set -- "$@" "$argument" ;;
    esac
done

mkdir -p "$bench/wrapper"
[ -x "$transient" ] || cargo build --release --bin transient
set -- --transient "$transient" --folder "$bench" "$@"

# Release 0.25 asks for `accel=kvm:tcg`, and hangs where KVM opens but does not work.
write_wrapper() {
    cat > "$bench/wrapper/qemu-system-x86_64" << EOF
#!/bin/sh
for argument; do
    shift
    case \$argument in *accel=kvm:tcg*) argument=\${argument%%accel=kvm:tcg*}accel=tcg\${argument#*accel=kvm:tcg} ;; esac
    set -- "\$@" "\$argument"
done
exec $(command -v qemu-system-x86_64) "\$@"
EOF
    chmod +x "$bench/wrapper/qemu-system-x86_64"
}

# Installs a package, unless that would change or remove QEMU.
install() {
    command -v "$2" > /dev/null && return
    [ "$(id -u)" = 0 ] || { echo "bench: $2 is missing: install $1" >&2; return; }
    if apt-get -s install -y --no-install-recommends "$1" | grep -Eq '^(Inst|Remv) qemu-system-x86 '; then
        echo "bench: $1 is not installed, as that would change QEMU" >&2
        return
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" > "$bench/$1.log" 2>&1 ||
        echo "bench: $1 could not be installed: $bench/$1.log" >&2
}

# supermin is told of our kernel, so that none need be installed; it wants the folder of this host's to be there.
prepare_supermin() {
    modules=$bench/supermin/lib/modules
    if [ ! -d "$modules" ]; then
        mkdir -p "$bench/supermin"
        cp -r target/kernel/lib "$bench/supermin/"
        depmod -b "$bench/supermin" "$(ls "$modules")"
    fi
    [ -d /lib/modules ] || mkdir /lib/modules
    supermin_modules=$modules/$(ls "$modules")
}

if [ "$old" = yes ]; then
    if scripts/release-0.25.sh "$bench/venv"; then
        write_wrapper
        set -- --old "$bench/venv/bin/transient" "$@"
        [ "$pull" = yes ] || set -- --wrapper "$bench/wrapper" "$@"
    fi
fi
[ "$pull" = no ] || exec python3 scripts/bench_pull.py "$@"

install libguestfs-tools guestfish
install debootstrap debootstrap
if command -v guestfish > /dev/null && prepare_supermin; then
    set -- --supermin-kernel "$PWD/target/kernel/vmlinuz" --supermin-modules "$supermin_modules" "$@"
fi
scripts/busybox-rootfs.sh "$bench/rootfs.tar.gz"
if scripts/debian-rootfs.sh target/debian.tar.xz; then
    set -- --debian "$PWD/target/debian.tar.xz" "$@"
fi
PYTHONPATH=scripts exec python3 -m bench --rootfs "$bench/rootfs.tar.gz" --kernel target/kernel/vmlinuz "$@"
