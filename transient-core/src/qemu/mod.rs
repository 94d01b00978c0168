//! One QEMU process: command line, QMP, life and death.
