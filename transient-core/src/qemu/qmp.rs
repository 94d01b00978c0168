//! QEMU's monitor protocol: <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp;
use tokio::io::WriteHalf;
use tokio::net::UnixStream;

use super::block;
use super::trouble::{Trouble, Watch};
use crate::{Error, ErrorKind};

/// How often QEMU is asked whether it still answers.
const PULSE: Duration = Duration::from_secs(1);
/// A QEMU at work may be silent for this many times as long as one that starts.
const SILENCE: u32 = 3;

type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;

/// The commands' side of a QMP connection.
pub(crate) struct Monitor {
    pub(super) service: Arc<Service>,
    /// The same connection, over which descriptors go.
    pub(super) socket: OwnedFd,
}

impl Monitor {
    /// Connects, and reports the events that mean trouble from then on.
    pub(crate) async fn connect(stream: UnixStream, timeout: Duration, watch: Watch) -> Result<Self, Error> {
        let socket = stream.as_fd().try_clone_to_owned();
        let socket = socket.map_err(|error| Error::io("cannot use QEMU's monitor", error))?;
        let negotiated = async { QmpStreamTokio::open(stream).await?.negotiate().await };
        let stream = tokio::time::timeout(timeout, negotiated)
            .await
            .map_err(|_| {
                Error::new(
                    ErrorKind::Timeout,
                    format!("QEMU did not answer on QMP within {} s", timeout.as_secs()),
                )
                .hint("give it longer with --qmp-timeout")
            })?
            .map_err(|error| {
                Error::new(ErrorKind::ConnectionLost, "QEMU closed its monitor").caused_by(error)
            })?;
        let (service, mut events) = stream.into_parts();
        let service = Arc::new(service);
        tokio::spawn(watch_pulse(Arc::downgrade(&service), silence(timeout), watch.clone()));
        // Replies to commands only arrive while events are read.
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                tracing::debug!(target: "transient::qmp", "{event:?}");
                note(&event, &watch);
            }
        });
        Ok(Self { service, socket })
    }

    /// Has the disk written to another file from now on, which stands on the one that was written to until now. That is
    /// whole then, and is not written to any more. The new file must be empty, and as large.
    pub(crate) async fn snapshot(&self, from: &str, to: &str, file: &Path) -> Result<(), Error> {
        let failed = |error: qapi::ExecuteError| {
            Error::new(ErrorKind::QemuFailed, "QEMU cannot keep the state of the disk").caused_by(error)
        };
        // As data: QEMU takes nothing that it does not know, such as what newer ones add.
        let node = serde_json::from_value(block::writable(file, to, false)).map_err(|error| {
            Error::new(ErrorKind::Internal, "a block node is not described").caused_by(error)
        })?;
        self.service.execute(qmp::blockdev_add(node)).await.map_err(failed)?;
        let (node, overlay) = (from.to_owned(), to.to_owned());
        let snapshot = qmp::BlockdevSnapshot { node, overlay };
        self.service.execute(qmp::blockdev_snapshot(snapshot)).await.map_err(failed)?;
        Ok(())
    }

    /// Presses the machine's power button, upon which its guest may shut down.
    pub(crate) async fn power_down(&self) {
        let _ = self.service.execute(qmp::system_powerdown {}).await;
    }

    /// Returns the port of this host that leads to the guest's port 22, if there is one.
    pub(crate) async fn ssh_port(&self) -> Result<Option<u16>, Error> {
        let command = qmp::human_monitor_command { command_line: "info usernet".to_owned(), cpu_index: None };
        let connections = self.service.execute(command).await.map_err(|error| {
            Error::new(ErrorKind::QemuFailed, "QEMU does not tell the port for SSH").caused_by(error)
        })?;
        Ok(connections.lines().find_map(forwarded_to_ssh))
    }

    /// Ends QEMU.
    pub(crate) async fn quit(&self) {
        // QEMU may go before it answers.
        let _ = self.service.execute(qmp::quit {}).await;
    }
}

/// Reads a line of the table of connections, such as `TCP[HOST_FORWARD]  12  127.0.0.1  40001  10.0.2.15  22  0  0`.
fn forwarded_to_ssh(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip_while(|field| *field != "TCP[HOST_FORWARD]").skip(3);
    let port = fields.next()?.parse().ok()?;
    (fields.nth(1)? == "22").then_some(port)
}

/// How long a QEMU at work may be silent, in whole pulses.
fn silence(timeout: Duration) -> Duration {
    PULSE * SILENCE * u32::try_from(timeout.as_secs().max(1)).unwrap_or(u32::MAX / SILENCE)
}

/// Reports a QEMU that no longer answers, though it lives: it was stopped, or hangs.
///
/// Only seconds count in which this process ran itself: both may have been stopped, and continue.
async fn watch_pulse(service: Weak<Service>, patience: Duration, watch: Watch) {
    while let Some(service) = service.upgrade() {
        let answer = service.execute(qmp::query_status {});
        // While it waits, the monitor must be free to go.
        drop(service);
        tokio::pin!(answer);
        let mut silent = Duration::ZERO;
        let answered = loop {
            match tokio::time::timeout(PULSE, &mut answer).await {
                Ok(answered) => break answered,
                Err(_) => silent += PULSE,
            }
            if silent == patience {
                watch.report(Trouble::Silent { patience });
            }
        };
        if answered.is_err() {
            return;
        }
        tokio::time::sleep(PULSE).await;
    }
}

fn note(event: &qmp::Event, watch: &Watch) {
    if let qmp::Event::BLOCK_IO_ERROR { data, .. } = event {
        watch.report(if data.nospace == Some(true) {
            Trouble::HostDiskFull
        } else {
            Trouble::DiskFailed { reason: data.reason.clone() }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_ssh_is_found() {
        let line = "  TCP[HOST_FORWARD]  14       127.0.0.1 40001       10.0.2.15    22     0     0";
        assert_eq!(forwarded_to_ssh(line), Some(40001));
        assert_eq!(forwarded_to_ssh(&line.replace("   22 ", "   80 ")), None);
        assert_eq!(
            forwarded_to_ssh(
                "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ"
            ),
            None
        );
    }
}
