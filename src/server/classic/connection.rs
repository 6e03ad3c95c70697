//! The reactor's half of a classic connection: from frames to handlers.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{Arrived, Outside};
use crate::os::{Credentials, Doorbell, Event, Poller, RecvError, RoomWatch, Socket};
use crate::ring::Inline;
use crate::rpc::{Letter, Private, Status, read_message};
use crate::server::caller::{Caller, SocketPeer};
use crate::server::classic::peer::{ClassicPeer, Open, handler_error};
use crate::server::connection::WATCHED;
use crate::server::incoming::Incoming;
use crate::server::reactor::Shared;
use crate::server::seats::Seat;
use crate::wire::{ClassicDecoder, ClassicError, ClassicRequest};

/// Frames and reads of one connection before the others have their turn.
const STEPS_PER_TURN: usize = 64;

/// A client of the classic protocol, and its receiving half.
pub(in crate::server) struct ClassicConnection {
    peer: Arc<ClassicPeer>,
    /// The same, as handlers know it.
    caller: Arc<dyn SocketPeer>,
    _seat: Seat,
    credentials: Credentials,
    decoder: ClassicDecoder,
    room: RoomWatch,
    /// The socket may hold something.
    unread: bool,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Fate {
    Open,
    Over,
}

impl ClassicConnection {
    /// Takes over a socket whose first bytes are in `decoder`.
    pub(in crate::server) fn new(
        socket: Socket,
        seat: Seat,
        credentials: Credentials,
        decoder: ClassicDecoder,
    ) -> io::Result<Self> {
        let peer = ClassicPeer::new(socket, credentials)?;
        let room = RoomWatch::new(WATCHED);
        Ok(Self { caller: peer.clone(), peer, _seat: seat, credentials, decoder, room, unread: true })
    }

    pub(in crate::server) fn socket(&self) -> &Socket {
        self.peer.socket()
    }

    pub(in crate::server) fn bell(&self) -> &Doorbell {
        self.peer.bell()
    }

    /// Whether every call has been answered and every answer sent.
    pub(in crate::server) fn is_drained(&self) -> bool {
        self.peer.is_drained()
    }

    /// Has the socket watched for room while an answer waits for some.
    pub(in crate::server) fn watch_room(&mut self, poller: &Poller, token: u64) -> io::Result<()> {
        self.room.set(self.peer.has_unsent(), poller, self.peer.socket(), token)
    }

    /// Something happened to the socket, or, if `is_bell`, another thread has answered.
    pub(in crate::server) fn on_event(&mut self, event: Event, is_bell: bool, shared: &Shared) -> Fate {
        if !is_bell {
            if event.writable {
                self.peer.flush();
            }
            if event.hangup && self.peer.is_busy() {
                tracing::debug!(peer_pid = self.credentials.pid, "a classic client left during a call");
                return Fate::Over;
            }
            self.unread |= event.readable || event.hangup;
        }
        self.proceed(shared)
    }

    /// Serves what has come in, up to a turn's worth or to a call that another thread serves.
    pub(in crate::server) fn proceed(&mut self, shared: &Shared) -> Fate {
        let mut buffer = [0; 4096];
        for _ in 0..STEPS_PER_TURN {
            if !self.peer.is_free() {
                return Fate::Open;
            }
            match self.decoder.next_frame() {
                Ok(Some(body)) => {
                    if let Err(error) = self.handle(&body, shared) {
                        return self.violated(&error);
                    }
                    continue;
                }
                Ok(None) if !self.unread => return Fate::Open,
                Ok(None) => {}
                Err(error) => return self.violated(&error),
            }
            // Descriptors that come along are closed at once.
            match self.peer.socket().recv(&mut buffer, &mut Vec::new()) {
                Ok(0) => return Fate::Over,
                Ok(count) => self.decoder.feed(&buffer[..count]),
                Err(RecvError::WouldBlock) => self.unread = false,
                Err(error) => {
                    tracing::debug!(peer_pid = self.credentials.pid, %error, "a classic client is gone");
                    return Fate::Over;
                }
            }
        }
        // To be woken again after the others.
        self.peer.bell().ring();
        Fate::Open
    }

    fn violated(&self, error: &ClassicError) -> Fate {
        tracing::warn!(
            peer_pid = self.credentials.pid,
            peer_uid = self.credentials.uid,
            %error,
            "a classic client broke the protocol"
        );
        Fate::Over
    }

    fn handle(&mut self, body: &Bytes, shared: &Shared) -> Result<(), ClassicError> {
        match ClassicRequest::decode(body)? {
            ClassicRequest::Connect => self.connect(shared),
            ClassicRequest::Call { connection_id, method, size } => {
                match self.begin(&connection_id, &method, size, shared) {
                    Ok((number, payload)) => self.call(method, number, payload, shared),
                    Err(error) => self.peer.send_reply(connection_id, method, Err(error)),
                }
            }
            ClassicRequest::Disconnect { connection_id } => {
                if self.peer.open().is_some_and(|open| open.id == connection_id) {
                    self.peer.set_open(None);
                }
                self.peer.send_farewell();
            }
        }
        Ok(())
    }

    fn connect(&self, shared: &Shared) {
        let answer = match &shared.classic {
            _ if shared.is_draining() => Err("the server is shutting down".to_owned()),
            _ if self.peer.open().is_some() => {
                Err("this socket has a connection already; disconnect it first, or open another socket"
                    .into())
            }
            Some(files) => files.make().map_err(|error| {
                tracing::warn!(%error, "a classic client gets no file");
                error.to_string()
            }),
            None => unreachable!("the handshake refuses classic clients then"),
        };
        self.peer.send_connected(answer.map(|(id, file)| {
            let path = file.path().to_str().expect("the directory is UTF-8").to_owned();
            self.peer.set_open(Some(Open { id: id.clone(), file: Arc::new(file) }));
            tracing::debug!(connection = id, peer = ?self.credentials, "a classic client connected");
            (id, path)
        }));
    }

    /// What is called, and the request; or why there is no such call.
    fn begin(
        &self,
        id: &str,
        method: &str,
        size: u64,
        shared: &Shared,
    ) -> Result<(u32, Option<Private>), String> {
        let open = self.peer.open().filter(|open| open.id == id);
        let Some(Open { file, .. }) = open else { return Err(format!("connection not found: {id}")) };
        let file = file.shared();
        let number = shared.router.number(method).ok_or_else(|| format!("method not found: {method}"))?;
        let limit = shared.config.limits.max_message_size;
        if size > file.len() {
            return Err(format!(
                "a request of {size} bytes exceeds the file of {} bytes; raise classic_file_size on the server",
                file.len()
            ));
        }
        if size > limit {
            return Err(format!(
                "a request of {size} bytes exceeds max_message_size ({limit}) of the server"
            ));
        }
        if shared.is_draining() {
            return Err(handler_error(&Status::unavailable("the server is shutting down")));
        }
        read_message(file, 0, size as usize, Letter::Request).map(|payload| (number, payload))
    }

    fn call(&self, method: String, number: u32, payload: Option<Private>, shared: &Shared) {
        let call_id = self.peer.begin(method);
        let call = Incoming { call_id, method: number, deadline: None, streams: None };
        let payload = Arrived { inline: Inline::EMPTY, outside: &mut payload.map(Outside::Private) };
        shared.dispatch.call(Caller::Socket(&self.caller), call, payload);
    }
}

impl Drop for ClassicConnection {
    fn drop(&mut self) {
        // A handler may keep the peer for longer.
        self.peer.close();
    }
}
