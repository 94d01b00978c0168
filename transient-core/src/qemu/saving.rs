//! Saving a machine, and starting from a saved one.
//!
//! What is in the machine's memory is in a file already. QEMU only writes the state of processors and devices: a
//! migration with `x-ignore-shared` (<https://www.qemu.org/docs/master/system/vm-templating.html>).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use qapi::qmp;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use super::qmp::Monitor;
use crate::{Error, ErrorKind};

/// What the monitor calls the descriptor over which the state goes.
const STATE: &str = "state";

impl Monitor {
    /// Stops the machine, and has the state of its devices written to `to`, which is closed at the end.
    pub(crate) async fn save(&self, to: OwnedFd) -> Result<(), Error> {
        self.prepare(to).await?;
        let unlimited = json!({ "max-bandwidth": i64::MAX });
        self.execute::<qmp::migrate_set_parameters>(unlimited).await?;
        self.execute::<qmp::migrate>(json!({ "uri": format!("fd:{STATE}") })).await
    }

    /// Whether what was written is whole.
    pub(crate) async fn is_saved(&self) -> Result<bool, Error> {
        let info = self.service.execute(qmp::query_migrate {}).await.map_err(failed)?;
        Ok(info.status == Some(qmp::MigrationStatus::completed))
    }

    /// Has a machine that was stopped to be saved go on.
    pub(crate) async fn go_on(&self) -> Result<(), Error> {
        self.execute::<qmp::cont>(json!({})).await
    }

    /// Has a machine that waits for it go on from the state in `from`. If it cannot, QEMU ends.
    pub(crate) async fn restore(&self, from: OwnedFd) -> Result<(), Error> {
        self.prepare(from).await?;
        self.execute::<qmp::migrate_incoming>(json!({ "uri": format!("fd:{STATE}") })).await
    }

    async fn prepare(&self, state: OwnedFd) -> Result<(), Error> {
        let ignore = json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
        self.execute::<qmp::migrate_set_capabilities>(ignore).await?;
        self.pass(&state).map_err(|error| Error::io("cannot pass a descriptor to QEMU", error.into()))?;
        self.execute::<qmp::getfd>(json!({ "fdname": STATE })).await
    }

    /// Passes a descriptor with a byte that QMP skips; QEMU has it for the next `getfd`.
    fn pass(&self, descriptor: &OwnedFd) -> rustix::io::Result<()> {
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&self.socket, &[IoSlice::new(b" ")], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }

    /// Executes a command whose arguments are given as data: QEMU takes nothing that it does not know.
    async fn execute<C>(&self, arguments: Value) -> Result<(), Error>
    where
        C: qmp::QmpCommand<Ok = qapi::Empty> + serde::de::DeserializeOwned,
    {
        let command = serde_json::from_value::<C>(arguments).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("{} is not described", C::NAME)).caused_by(error)
        })?;
        self.service.execute(command).await.map(drop).map_err(failed)
    }
}

fn failed(error: qapi::ExecuteError) -> Error {
    Error::new(ErrorKind::QemuFailed, "QEMU cannot save or restore the builder VM").caused_by(error)
}
