//! How a connection is made, by whose turn it is: by a thread, or by a task in the same steps.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Reconnecting;
use crate::client::attempt::{Attempt, BACKLOG_PAUSE, Greeting};
use crate::client::connect::ConnectError;
use crate::client::core::Core;

/// What a step of making a connection has come to.
pub(in crate::client::reconnect) enum Advance {
    Connected(Arc<Core>),
    TooLate,
    /// The server's backlog has no room: a pause, and again.
    Full,
    /// The server's answer has not come whole: it is to be waited for, so long at most.
    Greeting(Duration),
}

/// The right to make the next connection. Given up, it leaves what was begun to the next one who has it.
pub(in crate::client::reconnect) struct Turn<'a> {
    pub(super) channel: &'a Reconnecting,
    pub(super) greeting: Option<Box<Greeting>>,
}

impl Turn<'_> {
    /// Connects, until then at most.
    pub(super) fn take(mut self, until: Instant) {
        let outcome = self.connect(until);
        self.settle(outcome);
    }

    /// `None` if that takes longer.
    fn connect(&mut self, until: Instant) -> Result<Option<Arc<Core>>, ConnectError> {
        let attempt = self.attempt();
        loop {
            match self.advance(&attempt, until)? {
                Advance::Connected(core) => return Ok(Some(core)),
                Advance::TooLate => return Ok(None),
                Advance::Full => thread::sleep(BACKLOG_PAUSE),
                Advance::Greeting(left) => self.greeting().wait(left)?,
            }
        }
    }

    /// Takes the next step of making a connection, without waiting, until then at most.
    pub(in crate::client::reconnect) fn advance(
        &mut self,
        attempt: &Attempt,
        until: Instant,
    ) -> Result<Advance, ConnectError> {
        let reached = self.reach(attempt)?;
        if reached && let Some(core) = self.greet()? {
            return Ok(Advance::Connected(core));
        }
        let left = until.saturating_duration_since(Instant::now());
        Ok(match (left.is_zero(), reached) {
            (true, _) => Advance::TooLate,
            (false, false) => Advance::Full,
            (false, true) => Advance::Greeting(left),
        })
    }

    pub(in crate::client::reconnect) fn attempt(&self) -> Attempt {
        Attempt::new(self.channel.path.clone(), self.channel.config.handshake_timeout)
    }

    /// Whether a handshake has begun. If not, the server's backlog is full.
    fn reach(&mut self, attempt: &Attempt) -> Result<bool, ConnectError> {
        if self.greeting.is_none()
            && let Some(socket) = attempt.reach()?
        {
            self.greeting = Some(Box::new(attempt.clone().greet(socket, self.channel.config.clone())?));
        }
        Ok(self.greeting.is_some())
    }

    /// Goes on with the handshake; the connection, if that is its end.
    fn greet(&mut self) -> Result<Option<Arc<Core>>, ConnectError> {
        let Some(answer) = self.greeting().advance()? else { return Ok(None) };
        self.greeting.take().expect("begun").finish(answer).map(Some)
    }

    pub(in crate::client::reconnect) fn greeting(&mut self) -> &mut Greeting {
        self.greeting.as_mut().expect("begun")
    }

    /// Says what has come of it; `None` if it is not over.
    pub(in crate::client::reconnect) fn settle(mut self, outcome: Result<Option<Arc<Core>>, ConnectError>) {
        let (channel, now) = (self.channel, Instant::now());
        match outcome {
            Ok(None) => {}
            Ok(Some(core)) => {
                tracing::debug!(path = %channel.path.display(), "connected again");
                let mut shared = channel.lock();
                shared.backoff.succeeded();
                shared.failure = None;
                shared.server = core.link.credentials();
                channel.hear(now);
                channel.current.store(Some(core));
            }
            Err(error) => {
                tracing::debug!(path = %channel.path.display(), %error, "not connected");
                self.greeting = None;
                let mut shared = channel.lock();
                shared.failure = Some(error.to_string());
                shared.given_up = shared.backoff.failed(now);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut shared = self.channel.lock();
        shared.connecting = false;
        shared.greeting = self.greeting.take();
        drop(shared);
        self.channel.tell();
    }
}
