//! One QEMU process: command line, QMP, life and death.

mod arguments;
pub(crate) mod block;
pub(crate) mod console;
mod gate;
mod machine;
pub(crate) mod process;
mod qmp;
mod saving;
mod trouble;

pub(crate) use arguments::{Accelerated, Configuration, Disk, Memory, node_name};
pub(crate) use machine::{Channels, Machine, nonblocking, pair};
pub(crate) use qmp::Monitor;
pub(crate) use trouble::Watch;
