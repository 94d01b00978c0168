#!/bin/sh
# Measures transient beside release 0.25 of the Python tool, which is installed into target/bench.
# Usage: bench.sh [--debian] [--without-old] [--runs N] [--old-runs N]
#        bench.sh --pull [--without-old] [--runs N] [--size MIB]
set -eu

cd "$(dirname "$0")/.."
bench=$PWD/target/bench
transient=${TRANSIENT:-$PWD/target/release/transient}
debian=no
pull=no
old=yes
for argument; do
    shift
    case $argument in
        --debian) debian=yes ;;
        --pull) pull=yes ;;
        --without-old) old=no ;;
        -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
        *) set -- "$@" "$argument" ;;
    esac
done

mkdir -p "$bench/wrapper"
[ -x "$transient" ] || cargo build --release --bin transient
set -- --transient "$transient" "$@"

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

if [ "$old" = yes ]; then
    scripts/release-0.25.sh "$bench/venv"
    write_wrapper
    set -- --old "$bench/venv/bin/transient" "$@"
fi

if [ "$pull" = yes ]; then
    exec python3 scripts/bench_pull.py --folder "$bench" "$@"
fi

scripts/busybox-rootfs.sh "$bench/rootfs.tar.gz"
set -- --rootfs "$bench/rootfs.tar.gz" --wrapper "$bench/wrapper" "$@"
if [ "$debian" = yes ]; then
    scripts/debian-rootfs.sh target/debian.tar.xz
    set -- "$@" --debian "target/debian.tar.xz"
fi

exec python3 scripts/bench.py "$@"
