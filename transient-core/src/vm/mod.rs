//! VMs of users: made from images, run, reached by SSH, copied from and to, and made images again.

mod arguments;
mod commands;
mod commit;
mod config;
mod config_file;
mod connect;
mod console;
mod copies;
mod disk;
mod handle;
mod host_key;
mod launch;
mod legacy;
mod list;
mod machine;
mod owner;
mod run;
mod running;
mod session;
mod share;
mod ssh;
mod stop;
mod stored;
mod transfer;

pub use commit::commit;
pub use config::{FileCopy, SharedFolder, SshOptions, VmConfig};
pub use config_file::ConfigFile;
pub use connect::ssh;
pub use copies::{CopyOptions, copy};
pub use handle::Vm;
pub use list::{RunningVm, VmInfo, VmListing};
pub use run::{RunOptions, create, run, start};
pub use session::{SshCommand, SshInput, SshSession};
