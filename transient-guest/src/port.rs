//! A virtio-serial port as an async byte stream.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const POLL: Duration = Duration::from_millis(1);
const NAMES: &str = "/sys/class/virtio-ports";

/// Waits for the port of this name and returns its device node.
pub(crate) async fn find(name: &str) -> io::Result<PathBuf> {
    loop {
        for entry in fs::read_dir(NAMES).into_iter().flatten() {
            let entry = entry?;
            let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if found.trim_end() == name && device.exists() {
                return Ok(device);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// An open port.
pub(crate) struct Port(AsyncFd<File>);

impl Port {
    /// Opens the port and waits until the host is there.
    pub(crate) async fn open(device: &Path) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).write(true).custom_flags(flags).open(device)?;
        // Until the host is connected the port is readable and at its end; an `AsyncFd` would keep that state.
        loop {
            let mut descriptors = [PollFd::new(&file, PollFlags::IN)];
            poll(&mut descriptors, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            if !descriptors[0].revents().contains(PollFlags::HUP) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        crate::sys::watch(file).map(Self)
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|file| file.get_ref().read(space)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|file| file.get_ref().write(bytes)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
