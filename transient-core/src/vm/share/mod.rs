//! Shared folders: the guest's `sshfs` speaks SFTP over the connection that the host has made, so that the guest needs
//! no way to the host, and sees nothing of it but the folder.

mod server;

use std::time::Duration;

use russh::ChannelMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config::SharedFolder;
use super::machine::Machine;
use super::ssh::{Input, lost};
use crate::{Error, ErrorKind};

/// How long `sshfs` may take, once it runs.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that may wait between SSH and the server.
const BUFFER: usize = 256 * 1024;
/// How much of what `sshfs` says is kept.
const WORDS_MAX: usize = 4096;

/// Has the guest mount a folder, which is served as long as the VM runs.
pub(super) async fn mount(machine: &Machine, folder: &SharedFolder) -> Result<(), Error> {
    let share = server::Share::open(folder)?;
    let connection = machine.connection().await?;
    let (mut reader, writer) = connection.channel().await?.split();
    writer.exec(true, mount_command(&folder.guest)).await.map_err(lost)?;

    let (ours, theirs) = tokio::io::duplex(BUFFER);
    russh_sftp::server::run(theirs, share).await;
    let (mut from_server, mut to_server) = tokio::io::split(ours);
    let (ended, end) = tokio::sync::oneshot::channel();
    let send = async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if writer.data_bytes(buffer[..length].to_vec()).await.is_err() {
                return;
            }
        }
    };
    let receive = async move {
        let mut words = Vec::new();
        while let Some(message) = reader.wait().await {
            match message {
                // A server that is gone is told by the end of its output.
                ChannelMsg::Data { data } => drop(to_server.write_all(&data).await),
                ChannelMsg::ExtendedData { data, .. } if words.len() < WORDS_MAX => {
                    words.extend_from_slice(&data);
                }
                _ => {}
            }
        }
        let _ = ended.send(String::from_utf8_lossy(&words).trim().to_owned());
    };
    machine.serve(send);
    machine.serve(receive);

    let mounted = async {
        let command = wait_command(&folder.guest);
        match connection.run(Some(&command), Input::Bytes(Vec::new()), None, async |_, _| {}).await? {
            0 => Ok(()),
            _ => Err(failed(folder, "it was not mounted in time")),
        }
    };
    tokio::select! {
        mounted = mounted => mounted,
        words = end => Err(failed(folder, &words.unwrap_or_default())),
    }
}

fn failed(folder: &SharedFolder, words: &str) -> Error {
    let message = format!("the guest cannot mount '{}' at '{}'", folder.host.display(), folder.guest);
    let error = Error::new(ErrorKind::CommandFailed, message).with_output(words);
    error.hint("the guest needs the program sshfs; a user who is not root also needs sudo without a password")
}

/// As the superuser, for all users of the guest; each of them may do what the owner of the VM may do on the host.
fn mount_command(place: &str) -> String {
    let place = quoted(place);
    format!(
        "if [ \"$(id -u)\" = 0 ]; then as=; else as='sudo -n'; fi; $as mkdir -p {place} && \
         exec $as sshfs -o slave,allow_other :/ {place}"
    )
}

/// Waits until it is mounted.
fn wait_command(place: &str) -> String {
    let rounds = MOUNT_TIMEOUT.as_millis() / 100;
    // In the list of mounts, blanks and backslashes are octal numbers (proc_pid_mounts(5)).
    let listed = place.trim_end_matches('/').replace('\\', "\\134").replace(' ', "\\040");
    let listed = quoted(&format!(" {listed} fuse"));
    format!(
        "n=0; until grep -qF {listed} /proc/mounts; do n=$((n+1)); [ $n -lt {rounds} ] || exit 1; sleep 0.1; done"
    )
}

/// Returns a word as the guest's shell takes it.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_to_the_shell() {
        for word in ["a b", "it's", "$(x) `y` \"z\" \\", ""] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .expect("runs");
            assert_eq!(String::from_utf8(output.stdout).expect("text"), word);
        }
    }
}
