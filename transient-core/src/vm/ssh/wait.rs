//! Waiting for a guest's SSH server.
//!
//! QEMU accepts every connection to the forwarded port at once, whatever the guest does. A guest that runs and has no
//! server yet resets it; one that has no network yet lets it hang, until QEMU's network, which asks ever more seldom,
//! asks again. So there are a few attempts at a time, and the first that is greeted wins.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Error, ErrorKind};

/// The pause between attempts, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A guest that resets a connection is about to have a server.
const PAUSE_AFTER_RESET: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 3;
/// An attempt is given up after this.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(15);

enum Attempt {
    Greeted(TcpStream),
    /// There is no server yet.
    Reset,
    /// The port is not QEMU's.
    Refused(io::Error),
}

/// Returns a connection on which the server has begun to speak. Never gives up by itself.
pub(super) async fn greeted(port: u16) -> Result<TcpStream, Error> {
    let mut attempts = JoinSet::new();
    let mut pause = PAUSE;
    loop {
        if attempts.len() < ATTEMPTS {
            attempts.spawn(attempt(port));
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Attempt::Greeted(stream)) => return Ok(stream),
                Ok(Attempt::Refused(error)) => {
                    let message = format!("port {port} of this host refuses SSH to the guest");
                    return Err(Error::new(ErrorKind::SshFailed, message).caused_by(error));
                }
                Ok(Attempt::Reset) | Err(_) => tokio::time::sleep(PAUSE_AFTER_RESET).await,
            },
            () = tokio::time::sleep(pause) => pause = (pause * 3 / 2).min(LONGEST_PAUSE),
        }
    }
}

async fn attempt(port: u16) -> Attempt {
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Attempt::Refused(error),
        Err(_) => return Attempt::Reset,
    };
    match tokio::time::timeout(LONGEST_ATTEMPT, stream.peek(&mut [0])).await {
        Ok(Ok(1..)) => Attempt::Greeted(stream),
        _ => Attempt::Reset,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_that_nobody_listens_at_is_told_at_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("known").port();
        drop(listener);
        assert_eq!(greeted(port).await.expect_err("refused").kind(), ErrorKind::SshFailed);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_server_that_resets_at_first_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("known").port();
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                drop(listener.accept().await.expect("a client"));
            }
            let (mut greeted, _) = listener.accept().await.expect("a client");
            greeted.write_all(b"SSH-2.0-x\r\n").await.expect("written");
            greeted
        });
        let stream = greeted(port).await.expect("greeted");
        assert_eq!(stream.peek(&mut [0; 4]).await.expect("readable"), 4);
        drop(serving.await.expect("no panic"));
    }
}
