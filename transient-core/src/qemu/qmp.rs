//! QEMU's monitor protocol: <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use std::time::Duration;

use futures_util::StreamExt;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp;
use tokio::io::WriteHalf;
use tokio::net::UnixStream;

use super::trouble::{Trouble, Watch};
use crate::{Error, ErrorKind};

/// The commands' side of a QMP connection.
pub(crate) struct Monitor(QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>);

impl Monitor {
    /// Connects, and reports the events that mean trouble from then on.
    pub(crate) async fn connect(stream: UnixStream, timeout: Duration, watch: Watch) -> Result<Self, Error> {
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
        // Replies to commands only arrive while events are read.
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                tracing::debug!(target: "transient::qmp", "{event:?}");
                note(&event, &watch);
            }
        });
        Ok(Self(service))
    }

    /// Ends QEMU.
    pub(crate) async fn quit(&self) {
        // QEMU may go before it answers.
        let _ = self.0.execute(qmp::quit {}).await;
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
