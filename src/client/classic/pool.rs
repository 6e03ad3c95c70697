//! The connections of a classic channel, and who has which.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::client::begin::SPACE_PATIENCE;
use crate::client::classic::connection::{CallError, Connection};
use crate::client::classic::open::open;
use crate::client::connect::ConnectError;
use crate::client::core::{deadline_exceeded, of_the_parent};
use crate::client::method::Method;
use crate::connection::Config;
use crate::os::{Credentials, ForkMark, SharedFile};
use crate::raw::Loan;
use crate::rpc::{Private, Status};

/// What the callers of a classic channel share.
pub(in crate::client) struct Pool {
    path: PathBuf,
    connect_timeout: Duration,
    max_message_size: u64,
    /// How many connections there may be.
    capacity: usize,
    /// How long a caller waits while every connection is held by a call that nobody waits for.
    pub(super) patience: Duration,
    /// Calls that were sent, and whose replies nobody waits for yet.
    unattended: AtomicUsize,
    state: Mutex<State>,
    /// A connection was given back or closed.
    freed: Condvar,
    pub(super) process: ForkMark,
    /// Tells this channel's methods from those of others.
    id: u32,
}

struct State {
    /// The one that was used last is used next: its file is in the processor's cache.
    #[expect(
        clippy::vec_box,
        reason = "a call that holds a connection is to be small, and to allocate nothing"
    )]
    idle: Vec<Box<Connection>>,
    /// Connections that there are, or that are being opened.
    open: usize,
    /// Who served last, and how long its files are.
    server: (Credentials, u64),
}

impl State {
    /// Whether a caller has to wait.
    fn is_full(&self, capacity: usize) -> bool {
        self.idle.is_empty() && self.open >= capacity
    }
}

impl Pool {
    /// Opens a first connection: who cannot have one has no channel.
    pub(in crate::client) fn connect(
        path: &Path,
        config: &Config,
        capacity: usize,
    ) -> Result<Self, ConnectError> {
        let connect_timeout = config.handshake_timeout;
        let first = open(path, connect_timeout)?;
        let server = (first.credentials(), first.file().len());
        Ok(Self {
            path: path.to_owned(),
            connect_timeout,
            max_message_size: config.limits.max_message_size,
            capacity,
            patience: SPACE_PATIENCE,
            unattended: AtomicUsize::new(0),
            state: Mutex::new(State { idle: vec![Box::new(first)], open: 1, server }),
            freed: Condvar::new(),
            process: ForkMark::get(),
            id: Method::next_channel(),
        })
    }

    /// Any name may be one of the server's methods: only a call can tell.
    pub(in crate::client) fn method(&self, name: &'static str) -> Method {
        Method::new(self.id, Some(0), name)
    }

    /// Who served last.
    pub(in crate::client) fn peer(&self) -> Credentials {
        self.server().0
    }

    /// Whether no call can be made any more, as in a child that inherited the channel.
    pub(in crate::client) fn is_closed(&self) -> bool {
        !self.process.is_same_process()
    }

    /// Ordinary memory, which is copied when it is sent.
    pub(in crate::client) fn loan(&self, len: usize) -> Result<Loan, Status> {
        self.check_process()?;
        self.check_size(len as u64, self.server().1)?;
        Ok(Loan::private(len))
    }

    /// Sends a call whose request has `len` bytes, which `write` puts into a connection's file.
    pub(in crate::client) fn start(
        &self,
        method: Method,
        deadline: Option<Instant>,
        len: usize,
        write: &dyn Fn(&SharedFile) -> Result<(), Status>,
    ) -> Result<Lease<'_>, Status> {
        self.check_process()?;
        method.check(self.id)?;
        loop {
            let (mut lease, is_fresh) = self.lease(deadline)?;
            let connection = lease.connection();
            self.check_size(len as u64, connection.file().len())?;
            write(connection.file())?;
            // Once it is sent, nothing but the connection's end would take it back.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(deadline_exceeded());
            }
            match connection.call(method.name(), len as u64, deadline) {
                Ok(()) => {
                    lease.set_attended(false);
                    return Ok(lease);
                }
                Err(CallError::Failed(status)) => return Err(status),
                // Its server has gone since it was looked at.
                Err(CallError::Stale) if !is_fresh => {}
                Err(CallError::Stale) => {
                    return Err(Status::unavailable(format!(
                        "{}: the server hung up right after it had accepted a connection; its log says why",
                        self.path.display()
                    )));
                }
            }
        }
    }

    /// A connection that works, and whether it is a new one.
    fn lease(&self, deadline: Option<Instant>) -> Result<(Lease<'_>, bool), Status> {
        loop {
            let mut lease = self.seat(deadline)?;
            let Some(connection) = &mut lease.connection else {
                lease.connection = Some(Box::new(self.open(deadline)?));
                return Ok((lease, true));
            };
            if connection.is_alive() {
                return Ok((lease, false));
            }
            // To the next one, and the dead one's place to whoever waits.
        }
    }

    /// The right to a connection: an idle one, or none yet.
    fn seat(&self, deadline: Option<Instant>) -> Result<Lease<'_>, Status> {
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Lease { pool: self, connection: Some(connection), attended: true });
            }
            if !state.is_full(self.capacity) {
                state.open += 1;
                return Ok(Lease { pool: self, connection: None, attended: true });
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Status::deadline_exceeded(format!(
                    "the deadline passed while all {} connections were busy; raise classic_connections on \
                     the channel, or the call's timeout",
                    self.capacity
                )));
            }
            let timeout = left.map_or(self.patience, |left| left.min(self.patience));
            let (locked, waited) =
                self.freed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            // Relaxed: whoever waits for a reply again will be seen the next time.
            let all_unattended = self.unattended.load(Ordering::Relaxed) >= self.capacity;
            if waited.timed_out()
                && timeout == self.patience
                && all_unattended
                && state.is_full(self.capacity)
            {
                return Err(Status::resource_exhausted(format!(
                    "all {} connections are held by calls that were started and that nobody waits for; wait \
                     for some before starting more, or raise classic_connections on the channel",
                    self.capacity
                )));
            }
        }
    }

    fn open(&self, deadline: Option<Instant>) -> Result<Connection, Status> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(deadline_exceeded());
        }
        let timeout = left.map_or(self.connect_timeout, |left| left.min(self.connect_timeout));
        let connection = open(&self.path, timeout).map_err(|error| match error {
            ConnectError::Timeout { .. } if timeout < self.connect_timeout => deadline_exceeded(),
            ConnectError::Os(_) => Status::resource_exhausted(error.to_string()),
            error => Status::unavailable(error.to_string()),
        })?;
        self.lock().server = (connection.credentials(), connection.file().len());
        Ok(connection)
    }

    /// Never sent: the published server does not outlive a request that is longer than its file.
    fn check_size(&self, len: u64, file_len: u64) -> Result<(), Status> {
        let limit = self.max_message_size;
        let why = if len > file_len {
            format!(
                "a request of {len} bytes does not fit into the file of {file_len} bytes; raise \
                 classic_file_size on the server"
            )
        } else if len > limit {
            format!("a request of {len} bytes exceeds max_message_size ({limit}) of the channel")
        } else {
            return Ok(());
        };
        Err(Status::resource_exhausted(why))
    }

    fn check_process(&self) -> Result<(), Status> {
        if self.process.is_same_process() { Ok(()) } else { Err(of_the_parent()) }
    }

    fn server(&self) -> (Credentials, u64) {
        self.lock().server
    }

    /// Takes a connection back, or counts it as closed.
    fn give_back(&self, connection: Option<Box<Connection>>) {
        let mut state = self.lock();
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("path", &self.path)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// One connection in the hands of one call. Dropped, it goes back if it is idle, and is closed if not.
pub(in crate::client) struct Lease<'a> {
    pool: &'a Pool,
    /// `None` until it is open.
    connection: Option<Box<Connection>>,
    /// Whether a thread is at it.
    attended: bool,
}

impl Lease<'_> {
    /// Waits for the reply to the call that was sent, and copies it; `None` of no bytes.
    pub(in crate::client) fn reply(mut self) -> Result<Option<Private>, Status> {
        self.pool.check_process()?;
        self.set_attended(true);
        let longest = self.pool.max_message_size;
        self.connection().reply(longest)
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("open before anybody else has it")
    }

    fn set_attended(&mut self, attended: bool) {
        // Relaxed: nothing is read on the strength of it.
        match (self.attended, attended) {
            (true, false) => self.pool.unattended.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.pool.unattended.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.attended = attended;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // In a child another thread of the parent may hold the lock for ever. The connection leaves the
        // parent's alone.
        if !self.pool.process.is_same_process() {
            return;
        }
        self.set_attended(true);
        // What is closed is closed before somebody opens another one in its place.
        let connection = self.connection.take().filter(|connection| connection.is_idle());
        self.pool.give_back(connection);
    }
}
