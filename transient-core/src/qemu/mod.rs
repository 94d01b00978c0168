//! One QEMU process: command line, QMP, life and death.

mod arguments;
mod console;
mod gate;
mod machine;
mod process;
mod qmp;
mod trouble;

pub(crate) use arguments::{Accelerated, Configuration, Disk};
pub(crate) use machine::Machine;
pub(crate) use qmp::Monitor;
