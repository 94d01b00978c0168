//! How long a server is waited for, and how often it is asked again.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Patience {
    /// For a connection, from the look-up of the name to the end of the TLS handshake.
    pub(super) connect: Duration,
    /// For the next bytes.
    pub(super) idle: Duration,
    /// Before it is asked again; twice as much each time that nothing came.
    pub(super) pause: Duration,
    /// The most that a server may ask to be left alone.
    pub(super) longest_pause: Duration,
    /// After so many failures without a byte between them, it is the last one.
    pub(super) failures_in_a_row: u32,
    /// After so many failures, it is the last one in any case.
    pub(super) failures: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(120),
            failures_in_a_row: 6,
            failures: 100,
        }
    }
}

#[cfg(test)]
impl Patience {
    /// Hardly any.
    pub(super) const fn for_tests(idle: Duration) -> Self {
        Self {
            connect: idle,
            idle,
            pause: Duration::from_millis(1),
            longest_pause: Duration::from_secs(1),
            failures_in_a_row: 6,
            failures: 100,
        }
    }
}

/// What is left of the patience with one server.
#[derive(Debug)]
pub(super) struct Counter {
    patience: Patience,
    in_a_row: u32,
    all: u32,
}

impl Counter {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, in_a_row: 0, all: 0 }
    }

    /// Returns how long to wait after a failure; `None` when it was the last one. `asked` is the pause that the
    /// server wants.
    pub(super) fn failed(&mut self, brought_something: bool, asked: Option<Duration>) -> Option<Duration> {
        self.in_a_row = if brought_something { 1 } else { self.in_a_row + 1 };
        self.all += 1;
        if self.in_a_row >= self.patience.failures_in_a_row || self.all >= self.patience.failures {
            return None;
        }
        let own = self.patience.pause * 2_u32.saturating_pow(self.in_a_row - 1);
        asked.map_or(Some(own), |asked| (asked <= self.patience.longest_pause).then_some(asked.max(own)))
    }
}

/// Returns the pause that a server asks for; one that names a date is given our own.
pub(super) fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Counter {
        Counter::new(Patience { pause: Duration::from_secs(1), ..Patience::default() })
    }

    #[test]
    fn pauses_grow_until_patience_ends() {
        let mut counter = counter();
        let pauses: Vec<_> =
            (0..6).map(|_| counter.failed(false, None).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(8), Some(16), None]);
    }

    #[test]
    fn what_comes_gives_new_patience_but_not_for_ever() {
        let mut counter = counter();
        let failures = (0..1000).take_while(|_| counter.failed(true, None) == Some(Duration::from_secs(1)));
        assert_eq!(failures.count(), 99);
    }

    #[test]
    fn a_server_may_ask_for_a_pause_but_not_for_any() {
        let asked = |seconds| counter().failed(false, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Some(Duration::from_secs(1)));
        assert_eq!(asked(30), Some(Duration::from_secs(30)));
        assert_eq!(asked(3600), None);
    }
}
