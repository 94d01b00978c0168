//! QMP commands of the user, whatever they are, over a monitor of their own:
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::{Error, ErrorKind};

/// A longer answer is not taken.
const LONGEST_LINE: u64 = 64 << 20;

/// The monitor.
pub(super) struct Commands {
    stream: BufReader<UnixStream>,
    negotiated: bool,
    last: u64,
}

impl Commands {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), negotiated: false, last: 0 }
    }

    /// Carries out a command: `{"execute": "query-status"}`, with `arguments` where it has some. Returns what it
    /// returns.
    pub(super) async fn execute(&mut self, command: &Value) -> Result<Value, Error> {
        if !self.negotiated {
            self.read().await?;
            self.negotiated = true;
            self.send(&json!({ "execute": "qmp_capabilities" })).await?;
        }
        self.send(command).await
    }

    async fn send(&mut self, command: &Value) -> Result<Value, Error> {
        let Value::Object(mut command) = command.clone() else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a QMP command is an object with the key 'execute'",
            ));
        };
        self.last += 1;
        command.insert("id".to_owned(), self.last.into());
        let line = format!("{}\n", Value::Object(command));
        self.stream.write_all(line.as_bytes()).await.map_err(closed)?;
        loop {
            let mut answer = self.read().await?;
            // Events are told over the same connection; an answer to what is no command has no number.
            let ours = answer.get("id") == Some(&self.last.into());
            if ours && let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error").filter(|_| ours || answer.get("id").is_none()) {
                let said = error.get("desc").and_then(Value::as_str).unwrap_or("it does not say why");
                return Err(Error::new(ErrorKind::QemuFailed, "QEMU refuses the QMP command")
                    .caused_by(said.to_owned()));
            }
        }
    }

    async fn read(&mut self) -> Result<Value, Error> {
        let mut line = Vec::new();
        let read =
            (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await.map_err(closed)?;
        if read == 0 {
            return Err(closed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| {
            Error::new(ErrorKind::QemuFailed, "QEMU's monitor answers something senseless").caused_by(error)
        })
    }
}

fn closed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::ConnectionLost, "QEMU closed its monitor").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor that says these lines, whatever it is told.
    fn monitor(lines: &'static str) -> Commands {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        tokio::spawn(async move {
            theirs.write_all(lines.as_bytes()).await.expect("written");
            let _ = theirs.read_to_end(&mut Vec::new()).await;
        });
        Commands::new(ours)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_is_told_from_events() {
        let lines =
            "{\"QMP\":{}}\n{\"return\":{},\"id\":1}\n{\"event\":\"STOP\"}\n{\"return\":{\"a\":1},\"id\":2}\n";
        let answer = monitor(lines).execute(&json!({ "execute": "x" })).await.expect("an answer");
        assert_eq!(answer, json!({ "a": 1 }));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_refused_says_why() {
        let lines = "{\"QMP\":{}}\n{\"return\":{},\"id\":1}\n{\"error\":{\"class\":\"x\",\"desc\":\"no such\"},\"id\":2}\n";
        let error = monitor(lines).execute(&json!({ "execute": "x" })).await.expect_err("refused");
        assert_eq!(error.report(), "QEMU refuses the QMP command: no such");
        let error =
            monitor("{\"QMP\":{}}\n{\"return\":{},\"id\":1}\n").execute(&json!(3)).await.expect_err("none");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
