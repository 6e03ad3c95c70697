//! How a channel connects again: what its user can set.

use std::time::Duration;

/// That, and how, a channel whose connection has ended makes another one: see
/// [`ChannelBuilder::reconnect`](crate::ChannelBuilder::reconnect).
///
/// ```
/// use std::time::Duration;
/// use mmap_rpc::{Channel, Reconnect};
///
/// let reconnect = Reconnect::default().longest_delay(Duration::from_millis(200));
/// let connect = Channel::builder().reconnect(reconnect).connect("/run/cache.sock");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a channel reconnects once its builder has been given this"]
pub struct Reconnect {
    pub(super) first_delay: Duration,
    pub(super) longest_delay: Duration,
    pub(super) multiplier: f64,
    pub(super) jitter: f64,
    pub(super) give_up_after: Option<Duration>,
    pub(super) patience: Duration,
    pub(super) wait_for_ready: bool,
    pub(super) resends: u32,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(10),
            longest_delay: Duration::from_secs(1),
            multiplier: 2.0,
            jitter: 0.2,
            give_up_after: None,
            patience: Duration::from_secs(5),
            wait_for_ready: true,
            resends: 1,
        }
    }
}

impl Reconnect {
    /// Time between the first attempt that fails and the next one; 10 ms unless set.
    ///
    /// The first attempt is made at once by the call that finds the connection closed, unless the connection
    /// was younger than this.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Longest time between two attempts, before the [jitter](Self::jitter); 1 second unless set.
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// How much longer each delay is than the one before, at least 1; 2 unless set.
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = if multiplier.is_nan() { 1.0 } else { multiplier.max(1.0) };
        self
    }

    /// The part of each delay by which it is made longer or shorter at random, 0 to 1, so that the clients of
    /// a server that comes back do not come all at once; 0.2 unless set.
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        self
    }

    /// How long the channel tries, from the first attempt that fails on; `None`, for ever, unless set.
    ///
    /// The attempt that fails later than that is the last one: the channel is
    /// [`Shutdown`](crate::ChannelState::Shutdown) then, and its calls fail at once.
    pub fn give_up_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.give_up_after = time.into();
        self
    }

    /// How long a call waits at most for a connection; 5 seconds unless set. One with less time left waits
    /// only that long.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether a call waits where an attempt has failed and the next one is not due yet; true unless set.
    ///
    /// If not, it fails at once with that attempt's error. It waits for an attempt that is being made in
    /// either case. gRPC's calls have this setting too, and there it is false unless set.
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// How often a call that is marked [idempotent](crate::Call::idempotent) is sent again at most, each time
    /// after its connection has ended; once unless set.
    pub fn resends(mut self, times: u32) -> Self {
        self.resends = times;
        self
    }
}
