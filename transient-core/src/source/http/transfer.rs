//! One download, which is asked for again from where it broke.

use async_channel::Sender;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::patience::{Counter, Patience};
use super::setback::{Refusal, Setback};
use super::{Failure, Message, Request};
use crate::event::Reporter;
use crate::{Error, Event};

const CHANGED: &str = "it has changed while it was downloaded";
const ONCE_MORE: Option<&str> = Some("download it once more");

/// What is known of one download, over all requests that it takes.
pub(super) struct Transfer<'a> {
    pub(super) client: Client,
    pub(super) request: &'a Request,
    pub(super) patience: Patience,
    pub(super) reporter: &'a Reporter,
    pub(super) messages: &'a Sender<Result<Message, Failure>>,
    /// What the first answer said.
    begun: Option<Begun>,
    /// The bytes that were handed on.
    position: u64,
    delivered: blake3::Hasher,
}

struct Begun {
    total: Option<u64>,
    /// What tells one version of the file from another.
    validator: Option<HeaderValue>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        client: Client,
        request: &'a Request,
        patience: Patience,
        reporter: &'a Reporter,
        messages: &'a Sender<Result<Message, Failure>>,
    ) -> Self {
        let delivered = blake3::Hasher::new();
        Self { client, request, patience, reporter, messages, begun: None, position: 0, delivered }
    }

    /// Hands on everything, however many requests it takes.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut counter = Counter::new(self.patience);
        loop {
            let before = self.position;
            let (reason, asked) = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(Setback::Final(refusal)) => return Err(self.request.failure(refusal)),
                Err(Setback::Passing { reason, pause }) => (reason, pause),
            };
            let Some(pause) = counter.failed(self.position > before, asked) else {
                let hint =
                    Some("check the address, the network, and the variables http_proxy and https_proxy");
                return Err(self.request.failure(Refusal { reason, hint, absent: false }));
            };
            let address = &self.request.address;
            let message =
                format!("Downloading {address}: {reason}; trying again in {} s", pause.as_secs_f32());
            self.reporter.send(Event::Note { message }).await;
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Setback> {
        let patience = self.patience;
        let failed = |error: reqwest::Error| Setback::of_error(&error, &patience);
        let mut response = self.ask().send().await.map_err(failed)?;
        let mut repeated = self.begin(&response).await?;
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let fresh = repeated.skip(chunk, &self.delivered)?;
            self.hand_on(fresh).await?;
        }
        match self.begun.as_ref().and_then(|begun| begun.total) {
            _ if repeated.left > 0 => Err(Setback::last(CHANGED, ONCE_MORE)),
            Some(total) if self.position < total => Err(Setback::passing("the connection ended too early")),
            Some(total) if self.position > total => Err(Setback::last("it is longer than it was said", None)),
            _ => Ok(()),
        }
    }

    fn ask(&self) -> RequestBuilder {
        let mut asked = self
            .client
            .get(self.request.address.url().clone())
            .header(ACCEPT, self.request.expects.media_type())
            // What is checked and resumed are the bytes of the file itself.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.request.token {
            asked = asked.bearer_auth(token);
        }
        match self.begun.as_ref().and_then(|begun| begun.validator.as_ref()) {
            Some(validator) if self.position > 0 => {
                asked.header(RANGE, format!("bytes={}-", self.position)).header(IF_RANGE, validator)
            }
            _ => asked,
        }
    }

    /// Takes in what an answer says of itself, and returns what it repeats of the bytes that we have.
    async fn begin(&mut self, response: &Response) -> Result<Repeated, Setback> {
        let (status, headers) = (response.status(), response.headers());
        let (start, total) = match status {
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT => content_range(headers)
                .ok_or_else(|| Setback::last("the server's answer makes no sense", None))?,
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(Setback::last(CHANGED, ONCE_MORE)),
            _ => return Err(Setback::of_status(response)),
        };
        if is_page(headers) {
            let what = self.request.expects.described();
            let hint = Some("the address may be that of a page about it, or one must log in there");
            return Err(Setback::absent(format!("the server sent a web page, not {what}"), hint));
        }
        match &self.begun {
            None => {
                self.begun = Some(Begun { total, validator: validator(headers) });
                self.send(Message::Begun { total }).await?;
            }
            Some(begun) if begun.total.zip(total).is_some_and(|(before, now)| before != now) => {
                return Err(Setback::last(CHANGED, ONCE_MORE));
            }
            Some(_) => {}
        }
        match self.position.checked_sub(start) {
            Some(left) if start == 0 || left == 0 => Ok(Repeated { left, seen: blake3::Hasher::new() }),
            _ => Err(Setback::last("the server sent another part than it was asked for", None)),
        }
    }

    async fn hand_on(&mut self, fresh: Bytes) -> Result<(), Setback> {
        if fresh.is_empty() {
            return Ok(());
        }
        self.delivered.update(&fresh);
        self.position += fresh.len() as u64;
        self.send(Message::Bytes(fresh)).await
    }

    async fn send(&self, message: Message) -> Result<(), Setback> {
        // Nobody listens only where the whole is being given up.
        let gone = |_| Setback::last("nobody wants it any more", None);
        self.messages.send(Ok(message)).await.map_err(gone)
    }
}

/// The beginning of an answer that only repeats what we have. Whether it truly does is compared, not believed.
struct Repeated {
    left: u64,
    seen: blake3::Hasher,
}

impl Repeated {
    /// Returns the part of a chunk that is new.
    fn skip(&mut self, mut chunk: Bytes, delivered: &blake3::Hasher) -> Result<Bytes, Setback> {
        if self.left == 0 {
            return Ok(chunk);
        }
        let known = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
        let fresh = chunk.split_off(known);
        self.seen.update(&chunk);
        self.left -= known as u64;
        if self.left == 0 && self.seen.finalize() != delivered.finalize() {
            return Err(Setback::last(CHANGED, ONCE_MORE));
        }
        Ok(fresh)
    }
}

/// Returns what names this very version of the file: a strong ETag, else the time of its last change.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Reads `bytes START-END/TOTAL`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (part, total) = range.split_once('/')?;
    let start = part.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

impl Request {
    fn failure(&self, refusal: Refusal) -> Failure {
        let Refusal { reason, hint, absent } = refusal;
        let message = format!("cannot download '{}'", self.address);
        let error = Error::new(crate::ErrorKind::SourceFailed, message).caused_by(reason);
        let error = match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        Failure { error, absent }
    }
}
