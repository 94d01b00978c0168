//! Waiting for a guest's SSH server.
//!
//! QEMU accepts every connection to the forwarded port at once, whatever the guest does. A guest that runs and has no
//! server yet resets it; one that has no network yet lets it hang, until QEMU's network, which asks ever more seldom,
//! asks again. So a new attempt is made again and again beside the last ones, and the first that is greeted wins.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::{Error, ErrorKind};

/// The pause between attempts, at first and at most.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between them, it is this part of the time that has passed: a guest that starts slowly may greet slowly.
const PART: u32 = 20;
/// A guest that resets a connection is about to have a server.
const PAUSE_AFTER_RESET: Duration = Duration::from_millis(50);
/// How many attempts there are at a time; the oldest one gives way.
const ATTEMPTS: usize = 6;

enum Attempt {
    Greeted(TcpStream),
    /// There is no server yet.
    Reset,
    /// The port is not QEMU's.
    Refused(io::Error),
}

/// Returns a connection on which the server has begun to speak. Never gives up by itself.
pub(super) async fn greeted(port: u16) -> Result<TcpStream, Error> {
    let begun = Instant::now();
    let mut attempts = JoinSet::new();
    let mut handles = VecDeque::new();
    loop {
        if handles.len() == ATTEMPTS {
            handles.pop_front().inspect(AbortHandle::abort);
        }
        handles.push_back(attempts.spawn(attempt(port)));
        let pause = tokio::time::sleep((begun.elapsed() / PART).clamp(PAUSE, LONGEST_PAUSE));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some(done) = attempts.join_next() => match done {
                    Ok(Attempt::Greeted(stream)) => return Ok(stream),
                    Ok(Attempt::Refused(error)) => {
                        let message = format!("port {port} of this host refuses SSH to the guest");
                        return Err(Error::new(ErrorKind::SshFailed, message).caused_by(error));
                    }
                    Ok(Attempt::Reset) => pause.as_mut().reset((Instant::now() + PAUSE_AFTER_RESET).into()),
                    // It gave way.
                    Err(_) => {}
                },
                () = &mut pause => break,
            }
        }
    }
}

async fn attempt(port: u16) -> Attempt {
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Attempt::Refused(error),
        Err(_) => return Attempt::Reset,
    };
    match stream.peek(&mut [0]).await {
        Ok(1..) => Attempt::Greeted(stream),
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
