//! Why a request did not bring all of what was asked for, and whether it is worth another one.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::patience::{Patience, asked_pause};

/// What went wrong with one request.
#[derive(Debug)]
pub(super) enum Setback {
    /// It may work the next time. The server may have asked for a pause before that.
    Passing { reason: String, pause: Option<Duration> },
    /// It will not.
    Final(Refusal),
}

/// Why there is no use in asking again.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) hint: Option<&'static str>,
    /// Whether the server knows nothing of the kind, so that it may be elsewhere.
    pub(super) absent: bool,
}

impl Setback {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), pause: None }
    }

    pub(super) fn last(reason: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self::Final(Refusal { reason: reason.into(), hint, absent: false })
    }

    pub(super) fn absent(reason: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self::Final(Refusal { reason: reason.into(), hint, absent: true })
    }

    /// Judges an error of the client.
    pub(super) fn of_error(error: &reqwest::Error, patience: &Patience) -> Self {
        if let Some(tls) = tls_error(error) {
            let hint = "check the clock of this host, and that the package ca-certificates is installed; \
                        SSL_CERT_FILE names a file of certificate authorities of your own";
            return Self::last(format!("the server is not trusted: {tls}"), Some(hint));
        }
        let cause = root_cause(error);
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => Self::passing(format!("no connection in {} s", patience.connect.as_secs_f32())),
            (true, false) => Self::passing(format!("nothing came for {} s", patience.idle.as_secs_f32())),
            _ if error.is_redirect() || error.is_builder() => Self::last(cause, None),
            _ => Self::passing(cause),
        }
    }

    /// Judges a status that is no success.
    pub(super) fn of_status(response: &Response) -> Self {
        let status = response.status();
        let asked = asked_pause(response.headers());
        let wait = asked.map(|pause| format!(", to be asked again in {} s", pause.as_secs()));
        let reason = format!("the server answered {status}{}", wait.unwrap_or_default());
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::absent(reason, Some("check the address")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Self::last(reason, Some("check the address, and the user name and password if it needs them"))
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Self::last(reason, Some("put a user name and password into the URL of the proxy"))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Self::Passing { reason, pause: asked }
            }
            status if status.is_server_error() => Self::Passing { reason, pause: asked },
            _ => Self::last(reason, None),
        }
    }
}

/// Returns the text of the first cause, which says most.
fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Returns the error and what caused it, the first cause last.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| cause_of(*cause))
}

fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // What is in an `io::Error` is not its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
