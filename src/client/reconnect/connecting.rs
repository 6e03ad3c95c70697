//! The connection that there is, and who makes another one: one caller at a time.

pub(super) mod turn;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};

use self::turn::Turn;
use crate::client::attempt::Greeting;
use crate::client::core::{Core, of_the_parent};
use crate::client::method::Method;
use crate::client::reconnect::backoff::Backoff;
use crate::client::reconnect::call::Course;
use crate::client::reconnect::policy::Reconnect;
use crate::client::reconnect::state::ChannelState;
use crate::connection::Config;
use crate::os::{Credentials, ForkMark, effective_gid, effective_uid};
use crate::raw::Loan;
use crate::rpc::Status;

/// A connection that has been silent for so long is looked at before a call is sent on it: its server may
/// have gone, and a call that has not been sent can still go to the next one. The look is a system call,
/// which a busy channel does not make.
const SILENCE: Duration = Duration::from_millis(1);

/// Whoever holds the connection for a moment: no lock, and mostly no count that others share.
pub(super) type Held = Guard<Option<Arc<Core>>>;

/// What the callers of a channel that reconnects share.
pub(in crate::client) struct Reconnecting {
    path: Arc<Path>,
    config: Config,
    pub(super) policy: Reconnect,
    process: ForkMark,
    /// Tells this channel's methods from those of others.
    id: u32,
    /// What `heard` counts from.
    epoch: Instant,
    /// When the server was last known to be there, in microseconds.
    heard: AtomicU64,
    /// Written with `shared` locked.
    current: ArcSwapOption<Core>,
    shared: Mutex<Shared>,
    /// Something of `shared` or `current` has changed.
    changed: Condvar,
    /// The same for tasks.
    #[cfg(feature = "tokio")]
    pub(super) told: tokio::sync::Notify,
}

/// What those look at who find no connection.
struct Shared {
    backoff: Backoff,
    /// Whether somebody makes one.
    connecting: bool,
    /// A handshake that was begun by one whose time was over.
    greeting: Option<Box<Greeting>>,
    /// What the last attempt has failed with.
    failure: Option<String>,
    /// The last attempt was the last one.
    given_up: bool,
    server: Credentials,
}

/// What one without a connection is to do.
pub(super) enum Decision<'a> {
    /// Look again: there is one.
    Look,
    Connect(Turn<'a>),
    /// Wait until something changes, until then at most.
    Wait(Instant),
}

impl Reconnecting {
    /// A channel that has this connection, or none yet.
    pub(in crate::client) fn new(
        path: &Path,
        config: Config,
        policy: Reconnect,
        first: Option<Arc<Core>>,
    ) -> Arc<Self> {
        let (now, mut backoff) = (Instant::now(), Backoff::new(policy));
        let mut server = Credentials { pid: 0, uid: effective_uid(), gid: effective_gid() };
        if let Some(first) = &first {
            backoff.begin(now, random());
            server = first.link.credentials();
        }
        let shared =
            Shared { backoff, connecting: false, greeting: None, failure: None, given_up: false, server };
        Arc::new(Self {
            path: path.into(),
            config,
            policy,
            process: ForkMark::get(),
            id: Method::next_channel(),
            epoch: now,
            heard: AtomicU64::new(0),
            current: ArcSwapOption::new(first),
            shared: Mutex::new(shared),
            changed: Condvar::new(),
            #[cfg(feature = "tokio")]
            told: tokio::sync::Notify::new(),
        })
    }

    // ---- the connection that there is ----------------------------------------------------------------

    /// A connection to send on, if there is one: the whole way of a call that finds it.
    #[inline]
    pub(super) fn ready(&self, now: Instant) -> Result<Option<Held>, Status> {
        if !self.process.is_same_process() {
            return Err(of_the_parent());
        }
        let held = self.current.load();
        let Some(core) = &*held else { return Ok(None) };
        if self.is_silent(now) {
            core.look();
            self.hear(now);
        }
        Ok(core.is_open().then_some(held))
    }

    #[inline]
    fn is_silent(&self, now: Instant) -> bool {
        // Relaxed: a hint.
        let heard = Duration::from_micros(self.heard.load(Ordering::Relaxed));
        now.saturating_duration_since(self.epoch).saturating_sub(heard) >= SILENCE
    }

    /// The server was there at that time, or is about to be known not to be.
    #[inline]
    pub(super) fn hear(&self, at: Instant) {
        let at = at.saturating_duration_since(self.epoch).as_micros() as u64;
        // Seldom: all callers look at it. Relaxed: a hint.
        if at.saturating_sub(self.heard.load(Ordering::Relaxed)) >= SILENCE.as_micros() as u64 / 2 {
            self.heard.store(at, Ordering::Relaxed);
        }
    }

    /// The connection, made by this thread if need be.
    pub(super) fn acquire(&self, course: &Course) -> Result<Held, Status> {
        let mut now = course.begun;
        loop {
            if let Some(held) = self.ready(now)? {
                return Ok(held);
            }
            self.make(course)?;
            now = Instant::now();
        }
    }

    /// A method, on whichever connection there will be: its number is that on the present one.
    pub(in crate::client) fn method(&self, name: &'static str) -> Method {
        let number = self.current.load().as_ref().map(|core| core.method(name));
        // One that is wrong is found out by its name.
        let number = number.filter(Method::is_known).map_or(0, |method| method.id());
        Method::new(self.id, Some(number), name)
    }

    /// The same on a connection.
    #[inline]
    pub(super) fn method_on(&self, core: &Core, method: Method) -> Result<Method, Status> {
        method.check(self.id)?;
        Ok(core.method_here(method))
    }

    pub(in crate::client) fn loan(&self, len: usize) -> Result<Loan, Status> {
        let course = Course::new(self, Instant::now(), None);
        loop {
            let held = self.acquire(&course)?;
            let core = held.as_ref().expect("acquired");
            match core.loan(len) {
                // It closed meanwhile.
                Err(_) if !core.is_open() => {}
                taken => return taken,
            }
        }
    }

    /// Who served last.
    pub(in crate::client) fn peer(&self) -> Credentials {
        // In a child the lock may be held for ever, by a thread that it does not have.
        if !self.process.is_same_process() {
            return Credentials { pid: 0, uid: effective_uid(), gid: effective_gid() };
        }
        self.lock().server
    }

    pub(in crate::client) fn state(&self) -> ChannelState {
        if !self.process.is_same_process() {
            return ChannelState::Shutdown;
        }
        if let Some(core) = &*self.current.load() {
            core.look();
            if core.is_open() {
                return ChannelState::Ready;
            }
        }
        let shared = self.lock();
        match &*shared {
            Shared { given_up: true, .. } => ChannelState::Shutdown,
            Shared { connecting: true, .. } => ChannelState::Connecting,
            // It was made between the two looks.
            _ if self.is_open() => ChannelState::Ready,
            Shared { failure: Some(_), .. } => ChannelState::TransientFailure,
            _ => ChannelState::Idle,
        }
    }

    /// Sleeps until the state may be another one, so long at most.
    pub(in crate::client) fn wait_for_news(&self, left: Duration) {
        if self.process.is_same_process() {
            drop(self.changed.wait_timeout(self.lock(), left));
        } else {
            thread::sleep(left);
        }
    }

    fn is_open(&self) -> bool {
        self.current.load().as_ref().is_some_and(|core| core.is_open())
    }

    // ---- the next one --------------------------------------------------------------------------------

    /// Makes a connection, or waits until somebody else may have done so.
    #[cold]
    fn make(&self, course: &Course) -> Result<(), Status> {
        let mut shared = self.lock();
        let turn = loop {
            let now = Instant::now();
            match self.decide(&mut shared, course, now)? {
                Decision::Look => return Ok(()),
                Decision::Connect(turn) => break turn,
                Decision::Wait(until) => {
                    let left = until.saturating_duration_since(now);
                    (shared, _) =
                        self.changed.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(shared);
        turn.take(course.until(self));
        Ok(())
    }

    /// The same for a task, which waits by itself.
    #[cfg(feature = "tokio")]
    pub(super) fn decide_for_task(&self, course: &Course) -> Result<Decision<'_>, Status> {
        self.decide(&mut self.lock(), course, Instant::now())
    }

    fn decide<'a>(
        &'a self,
        shared: &mut Shared,
        course: &Course,
        now: Instant,
    ) -> Result<Decision<'a>, Status> {
        if self.is_open() {
            return Ok(Decision::Look);
        }
        if self.current.swap(None).is_some() {
            // Its memory goes with the last call that is under way on it.
            shared.backoff.lost(now);
            self.tell();
        }
        if shared.given_up {
            return Err(self.given_up(shared));
        }
        let until = course.until(self);
        if now >= until {
            return Err(self.too_late(shared, course));
        }
        if shared.connecting {
            return Ok(Decision::Wait(until));
        }
        if shared.greeting.as_ref().is_some_and(|greeting| greeting.is_late()) {
            // Nobody has attended to it. The answer may be there, but not for certain the server.
            shared.greeting = None;
        }
        if shared.greeting.is_none() {
            if let Some(due) = shared.backoff.due(now) {
                if !self.policy.wait_for_ready {
                    return Err(self.not_ready(shared));
                }
                return Ok(Decision::Wait(due.min(until)));
            }
            shared.backoff.begin(now, random());
        }
        shared.connecting = true;
        self.tell();
        Ok(Decision::Connect(Turn { channel: self, greeting: shared.greeting.take() }))
    }

    /// Tells those who wait that something has changed.
    fn tell(&self) {
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        self.told.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock panics half way.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- why there is none ---------------------------------------------------------------------------

    fn because(&self, shared: &Shared) -> String {
        match &shared.failure {
            Some(failure) => format!("the last attempt to connect failed: {failure}"),
            None => format!("{}: the connection was lost", self.path.display()),
        }
    }

    fn given_up(&self, shared: &Shared) -> Status {
        Status::unavailable(format!("the channel has given up: {}", self.because(shared)))
    }

    fn not_ready(&self, shared: &Shared) -> Status {
        Status::unavailable(format!(
            "no connection, and the next attempt is not due: {}",
            self.because(shared)
        ))
    }

    fn too_late(&self, shared: &Shared, course: &Course) -> Status {
        let because = self.because(shared);
        if course.is_over(Instant::now()) {
            return Status::deadline_exceeded(format!(
                "the deadline passed while there was no connection; {because}"
            ));
        }
        let patience = self.policy.patience;
        Status::unavailable(format!("no connection within the channel's patience of {patience:?}; {because}"))
    }
}

/// From 0 to 1, another one each time.
fn random() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Code;

    #[test]
    fn a_forked_child_leaves_its_parents_channel_alone() {
        let policy = Reconnect::default();
        let channel = Reconnecting::new(Path::new("nobody's"), Config::default(), policy, None);
        let mut channel = Arc::into_inner(channel).expect("nobody else has it");
        channel.process = ForkMark::of_another_process();
        // As if another thread of the parent's had held it when it forked.
        let _held = channel.lock();
        let course = Course::new(&channel, Instant::now(), None);
        let status = channel.acquire(&course).err().unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("connect again after fork"), "{status}");
        assert_eq!((channel.state(), channel.peer().pid), (ChannelState::Shutdown, 0));
        channel.wait_for_news(Duration::from_millis(1));
    }
}
