//! One QEMU process: command line, QMP, life and death.

mod arguments;
pub(crate) mod block;
mod console;
mod gate;
mod machine;
mod process;
mod qmp;
mod saving;
mod trouble;

pub(crate) use arguments::{Accelerated, Configuration, Disk, Memory, node_name};
pub(crate) use machine::{Channels, Machine};
pub(crate) use qmp::Monitor;
