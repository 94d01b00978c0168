//! Reading the headers of disk images natively, without QEMU.
