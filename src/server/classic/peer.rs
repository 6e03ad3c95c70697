//! What the reactor and the handlers of a classic connection share.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use crate::os::{Credentials, Doorbell, NamedFile, SharedFile, Socket};
use crate::rpc::{Callers, Listing, Status, Wanted};
use crate::server::caller::SocketPeer;
use crate::sync::AtomicWaker;
use crate::wire::{ClassicConnected, ClassicReply, encode_farewell};

/// Longest text of a failure that is sent, in bytes.
const LONGEST_ERROR: usize = 4096;

/// A client of the classic protocol.
pub(super) struct ClassicPeer {
    socket: Socket,
    credentials: Credentials,
    /// Wakes the reactor when another thread has answered.
    bell: Doorbell,
    over: AtomicBool,
    listing: Listing,
    /// The task that serves the call.
    task: AtomicWaker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The method that is being served.
    call: Option<String>,
    /// Calls that have begun; the last one's id.
    calls: u32,
    /// The reactor goes on once the call is answered.
    awaited: bool,
    /// What the socket had no room for.
    unsent: Vec<u8>,
}

/// What a ConnectRequest has brought about.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) file: Arc<NamedFile>,
}

impl ClassicPeer {
    pub(super) fn new(socket: Socket, credentials: Credentials) -> io::Result<Arc<Self>> {
        let bell = Doorbell::new()?;
        Ok(Arc::new_cyclic(|this: &Weak<Self>| Self {
            socket,
            credentials,
            bell,
            over: AtomicBool::new(false),
            listing: Listing::new(this.clone()),
            task: AtomicWaker::new(),
            state: Mutex::default(),
        }))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn bell(&self) -> &Doorbell {
        &self.bell
    }

    /// The connection, if there is one.
    pub(super) fn open(&self) -> Option<Open> {
        self.lock().open.clone()
    }

    /// Sets the connection up, or ends it; its file goes.
    pub(super) fn set_open(&self, open: Option<Open>) {
        let before = mem::replace(&mut self.lock().open, open);
        if let Some(before) = before {
            before.file.remove();
        }
    }

    /// A call begins, which [`SocketPeer::answer`] ends. Returns its id.
    pub(super) fn begin(&self, method: String) -> u32 {
        let mut state = self.lock();
        state.call = Some(method);
        state.calls = state.calls.wrapping_add(1);
        state.calls
    }

    /// Whether no call is served and everything is sent.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.call.is_none() && state.unsent.is_empty()
    }

    /// The same; if not, the reactor is woken once it is so.
    pub(super) fn is_free(&self) -> bool {
        let mut state = self.lock();
        state.awaited = state.call.is_some();
        state.call.is_none() && state.unsent.is_empty()
    }

    /// Whether a call is served.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().call.is_some()
    }

    /// Whether an answer waits for room in the socket. What another thread leaves there, the reactor is woken
    /// for.
    pub(super) fn has_unsent(&self) -> bool {
        !self.lock().unsent.is_empty()
    }

    /// Sends what waits.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        let unsent = mem::take(&mut state.unsent);
        self.send(&mut state, &unsent);
    }

    pub(super) fn send_connected(&self, answer: Result<(String, String), String>) {
        let mut frame = Vec::new();
        let encoded = ClassicConnected(answer).encode_frame(&mut frame);
        // A path is shorter than a frame.
        encoded.unwrap_or_else(|error| tracing::error!(%error, "an answer to a classic client"));
        self.send(&mut self.lock(), &frame);
    }

    pub(super) fn send_farewell(&self) {
        let mut frame = Vec::new();
        encode_farewell(&mut frame);
        self.send(&mut self.lock(), &frame);
    }

    /// Answers a call of any connection and method.
    pub(super) fn send_reply(&self, connection_id: String, method: String, outcome: Result<u64, String>) {
        self.reply(&mut self.lock(), connection_id, method, outcome);
    }

    fn reply(&self, state: &mut State, connection_id: String, method: String, outcome: Result<u64, String>) {
        let outcome = outcome.map_err(|mut text| {
            text.truncate(text.floor_char_boundary(LONGEST_ERROR));
            text
        });
        let mut frame = Vec::new();
        match (ClassicReply { connection_id, method, outcome }).encode_frame(&mut frame) {
            Ok(()) => self.send(state, &frame),
            Err(error) => {
                // A method's name that filled a frame comes back with an error beside it.
                tracing::warn!(peer_pid = self.credentials.pid, %error, "a classic client goes unanswered");
                self.socket.shutdown();
            }
        }
    }

    /// Sends, or keeps what the socket has no room for: at most an answer, because no further request is read
    /// before it is gone.
    fn send(&self, state: &mut State, frame: &[u8]) {
        let sent = match self.socket.send(frame, &[]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // Clients leave right after their farewell. Reading sees the end of the stream.
            Err(_) => frame.len(),
        };
        state.unsent.extend_from_slice(&frame[sent..]);
    }

    /// Answers the call that is served, if its client is still there, and wakes the reactor.
    fn end(&self, outcome: Result<u64, String>) {
        let mut state = self.lock();
        if let (Some(method), Some(id)) = (state.call.take(), state.open.as_ref().map(|open| open.id.clone()))
        {
            self.reply(&mut state, id, method, outcome);
        }
        if mem::take(&mut state.awaited) {
            self.bell.ring();
        }
    }

    /// Ends everything. What a handler answers from here on is dropped.
    pub(super) fn close(&self) {
        // Relaxed: a hint, and what the task that is woken below sees.
        self.over.store(true, Ordering::Relaxed);
        self.task.wake();
        self.set_open(None);
        self.socket.shutdown();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketPeer for ClassicPeer {
    fn credentials(&self) -> Credentials {
        self.credentials
    }

    fn connection_id(&self) -> String {
        self.open().map_or_else(String::new, |open| open.id)
    }

    fn wanted(&self, call_id: u32) -> Wanted {
        self.listing.call(call_id)
    }

    fn is_cancelled(&self, _: u32) -> bool {
        // Relaxed: a hint to whoever serves the call.
        self.over.load(Ordering::Relaxed)
    }

    fn watch(&self, _: u32, waker: &Waker) {
        self.task.register(waker);
    }

    fn forget(&self, _: u32) {
        drop(self.task.take());
    }

    fn check_reply(&self, len: u64) -> Result<(), Status> {
        match self.open() {
            Some(open) if len > open.file.shared().len() => Err(Status::resource_exhausted(format!(
                "a reply of {len} bytes does not fit into the file of {} bytes; raise classic_file_size on \
                 the server",
                open.file.shared().len()
            ))),
            _ => Ok(()),
        }
    }

    fn answer(&self, call_id: u32, len: u64, write: &dyn Fn(&SharedFile) -> Result<(), Status>) {
        let Some(Open { file, .. }) = self.open() else { return self.end(Ok(0)) };
        // Outside of the lock: it may be megabytes, it may panic, and there is no other call.
        match self.check_reply(len).and_then(|()| write(file.shared())) {
            Ok(()) => self.end(Ok(len)),
            Err(status) => self.fail(call_id, &status),
        }
    }

    fn fail(&self, _: u32, status: &Status) {
        self.end(Err(handler_error(status)));
    }
}

impl Callers for ClassicPeer {
    fn awaits(&self, call_id: u32) -> bool {
        let state = self.lock();
        // Relaxed: a hint to whoever serves the call.
        state.call.is_some() && state.calls == call_id && !self.over.load(Ordering::Relaxed)
    }
}

/// A status as the classic protocol has it: a text with gRPC's name of the code in it.
pub(super) fn handler_error(status: &Status) -> String {
    format!("handler error: {status}")
}
