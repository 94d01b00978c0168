//! Typed requests of the host, each over a channel of its own.

use std::process::Command;

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use transient_guest::protocol::{EXIT_NOT_STARTED, Reply, Request};

use crate::{child, operations};

/// A longer request is none, in bytes.
const LONGEST: usize = 1 << 20;

/// Carries out the request that comes over a channel. `operate` is a command that does so.
///
/// Those that are brief, and deal with nothing but mounts, are carried out by this process: to start another one would
/// take longer than they do.
pub(crate) async fn serve(operate: Command, mut reader: ChannelReadHalf, writer: ChannelWriteHalf<Msg>) {
    let request = read(&mut reader).await;
    match serde_json::from_slice(&request) {
        Ok(brief @ (Request::Pause | Request::GoOn)) => {
            let replies = tokio::task::spawn_blocking(|| {
                let mut replies = Vec::new();
                operations::operate(brief, None, &mut |reply| append(&mut replies, &reply));
                replies
            });
            let status = match replies.await {
                // A host that is gone shows as the end of the session.
                Ok(replies) => writer.data_bytes(replies).await.map_or(EXIT_NOT_STARTED, |()| 0),
                Err(_) => EXIT_NOT_STARTED,
            };
            child::finish(&writer, status).await;
        }
        _ => child::run(operate, request, reader, writer).await,
    }
}

/// Appends a reply as it goes over the channel.
pub(crate) fn append(replies: &mut Vec<u8>, reply: &Reply) {
    replies.extend(serde_json::to_vec(reply).unwrap_or_default());
    replies.push(b'\n');
}

/// Returns all that the host sends before it says that there is no more.
async fn read(reader: &mut ChannelReadHalf) -> Vec<u8> {
    let mut request = Vec::new();
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } if request.len() < LONGEST => request.extend_from_slice(&data),
            ChannelMsg::Eof => break,
            _ => {}
        }
    }
    request
}
