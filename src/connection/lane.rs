//! The socket lane: entries that travel as netstrings, and where their messages lie.
//!
//! ```text
//!   ring lane      entry ──────────────────────────────► ring ──► entry
//!   socket lane    entry ──► RPCRequest, offset, length ──► socket ──► checked ──► entry
//! ```
//!
//! Everything but the way of an entry is the same on both lanes: regions, slots and their return, growth,
//! calls and statuses. Two things do not fit into a frame that carries offset and length only, and are
//! translated here: a message inside its entry moves into a slot, and a failure's text goes into the frame.
//!
//! A frame that is written wakes its reader, so nobody kicks on this lane; the words for sleepers are not
//! looked at. It makes system calls for each call, and allocates: it is for callers who have a socket,
//! protobuf and a file to map, and for people who trace what passes.

use std::ops::Deref;
use std::sync::atomic::AtomicU32;

use crate::connection::backing::FileBacking;
use crate::connection::config::call_index;
use crate::connection::link::Link;
use crate::connection::outbox::Outgoing;
use crate::connection::post::encode;
use crate::connection::segments::PeerSegments;
use crate::connection::send::{Prepared, SendFailure, Slot};
use crate::connection::session::Role;
use crate::error::Violation;
use crate::layout::{Handle, copy_to_slot};
use crate::ring::{Body, Descriptor, Entry, Kind, Shape};
use crate::sync::Ordering;
use crate::wire::{Failure, Message, Metadata, RpcRequest, RpcResponse, Span};

/// What a client's call of an unknown method becomes: the number of no method.
pub(crate) const UNKNOWN_METHOD: u32 = u32::MAX;

/// How a connection's calls travel, unless it is by the ring.
pub(crate) struct SocketLane {
    /// What each call in flight has called, by its index: written by the server's driver when the request
    /// comes in, read by whoever answers. Empty on the client.
    called: Box<[AtomicU32]>,
    /// Where both regions are, unless they are sealed memory that both sides have mapped.
    pub(super) file: Option<FileBacking>,
}

impl SocketLane {
    /// A client's.
    pub(super) fn of_client(file: Option<FileBacking>) -> Self {
        Self { called: Box::default(), file }
    }

    /// A server's, for so many calls at once.
    pub(super) fn of_server(max_in_flight: u32, file: Option<FileBacking>) -> Self {
        Self { called: (0..max_in_flight).map(|_| AtomicU32::new(UNKNOWN_METHOD)).collect(), file }
    }

    /// Relaxed, as the other: between the two a call passes from the driver to whoever serves it.
    fn remember(&self, call_id: u32, method: u32) {
        if let Some(called) = self.called.get(call_index(call_id)) {
            called.store(method, Ordering::Relaxed);
        }
    }

    fn method_of(&self, call_id: u32) -> u32 {
        let called = self.called.get(call_index(call_id));
        called.map_or(UNKNOWN_METHOD, |called| called.load(Ordering::Relaxed))
    }
}

/// What came over the socket and waits for its driver.
pub(super) enum Came {
    /// And its metadata, which are not part of its message here.
    Entry(Entry, Metadata),
    /// A reply whose text no entry holds.
    Failure { call_id: u32, code: u32, text: String, metadata: Metadata },
}

impl Link {
    /// Whether calls travel over the socket.
    #[inline(always)]
    pub(crate) fn is_socket_lane(&self) -> bool {
        self.lane.is_some()
    }

    /// The file that the regions are in, if they are in one.
    #[inline(always)]
    pub(crate) fn file(&self) -> Option<&FileBacking> {
        self.lane.as_ref().and_then(|lane| lane.file.as_ref())
    }

    /// [`push`](Self::push) on this lane, of an entry whose bytes, if they are in a slot, are `bytes`. True
    /// if the peer has that slot then: metadata and a failure's text travel in the frame.
    ///
    /// The frame waits in the outbox for what the socket does not take at once, and counts as sent. Before
    /// that one is out there is no room for another.
    #[cold]
    #[inline(never)]
    pub(super) fn push_on_socket(
        &self,
        lane: &SocketLane,
        entry: &Entry,
        bytes: &[u8],
    ) -> Result<bool, SendFailure> {
        debug_assert!(entry.released().is_none(), "slots go back by their own words on this lane");
        let bytes = match entry.body() {
            Body::Inline(bytes) => bytes,
            Body::Slot(_) => bytes,
            Body::Fill(..) => unreachable!("what is read while it is written is for the ring lane"),
        };
        let (metadata, message) = bytes.split_at(entry.meta_len());
        let metadata = Metadata::decode(metadata).expect("encoded by this side");
        let is_failure = entry.kind() == Kind::Reply && entry.code() != 0;
        if is_failure || message.is_empty() {
            let text = if is_failure { message } else { &[] };
            self.dispatch_entry(&self.message_of(lane, entry, metadata, None, text), None)?;
            return Ok(false);
        }
        match entry.body() {
            Body::Slot(Descriptor { handle, offset, length }) => {
                let skipped = entry.meta_len() as u64;
                let at = Descriptor { handle, offset: offset + skipped, length: length - skipped };
                self.push_message(lane, entry, metadata, at, message)?;
                Ok(true)
            }
            _ => {
                let mut slot = Slot::claim(self, message.len() as u64)?;
                copy_to_slot(message, slot.bytes_mut(message.len()));
                let descriptor = slot.descriptor(message.len() as u64);
                self.push_message(lane, entry, metadata, descriptor, slot.bytes(message.len()))?;
                slot.into_claim();
                Ok(true)
            }
        }
    }

    fn push_message(
        &self,
        lane: &SocketLane,
        entry: &Entry,
        metadata: Metadata,
        descriptor: Descriptor,
        message: &[u8],
    ) -> Result<(), SendFailure> {
        if let Some(file) = &lane.file {
            file.publish(descriptor.offset, message)?;
        }
        let frame = self.message_of(lane, entry, metadata, Some(descriptor), &[]);
        self.dispatch_entry(&frame, Handle::new(descriptor.handle))
    }

    /// Hands a frame to the socket or to the outbox; the slot that it names is with the peer from here on.
    fn dispatch_entry(&self, message: &Message, slot: Option<Handle>) -> Result<(), SendFailure> {
        let frame = encode(message);
        let mut outbox = self.lock_outbox();
        if !outbox.is_empty() {
            self.flush_locked(&mut outbox)?;
            if !outbox.is_empty() {
                return Err(SendFailure::Wait);
            }
        }
        if let Some(handle) = slot {
            // As in the ring before `seq`: the peer may return the slot the moment it sees the frame.
            self.own.slab.publish(handle);
        }
        let has_room = outbox.push(Outgoing { bytes: frame, announces: None });
        debug_assert!(has_room, "it was empty");
        // If this fails the connection is closed, which whoever waits for the answer learns.
        let _ = self.flush_locked(&mut outbox);
        Ok(())
    }

    /// An entry as it is said on the socket.
    fn message_of(
        &self,
        lane: &SocketLane,
        entry: &Entry,
        metadata: Metadata,
        descriptor: Option<Descriptor>,
        text: &[u8],
    ) -> Message {
        let (connection_id, call_id) = (self.connection_id().to_owned(), entry.call_id());
        let span = descriptor.map_or(Span::default(), |Descriptor { handle, offset, length }| {
            let handle = Handle::new(handle).expect("a handle of ours");
            Span { segment_id: self.own.segment_of(handle), offset, size: length }
        });
        let name = |method: u32| self.methods().get(method as usize).cloned().unwrap_or_default();
        match entry.kind() {
            Kind::Request => Message::RpcRequest(RpcRequest {
                connection_id,
                method: name(entry.code()),
                call_id,
                timeout_us: entry.deadline_us(),
                request: span,
                metadata,
                streaming: entry.shape() != Shape::Unary,
                messages_follow: entry.shape() == Shape::ManyRequests,
            }),
            Kind::Reply => Message::RpcResponse(RpcResponse {
                connection_id,
                method: name(lane.method_of(call_id)),
                call_id,
                reply: match entry.code() {
                    0 => Ok(span),
                    // A status's text is UTF-8, and shorter than a frame's may be.
                    code => Err(Failure { code, text: String::from_utf8_lossy(text).into_owned() }),
                },
                metadata,
            }),
            Kind::Message => Message::StreamMessage { call_id, message: span },
            Kind::End => Message::StreamEnd { call_id },
            Kind::Credit => Message::StreamCredit { call_id, bytes: entry.code() },
            Kind::Headers => Message::StreamHeaders { call_id, metadata },
            Kind::Cancel => Message::Cancel { call_id },
            Kind::Goaway => Message::Goaway,
            Kind::Nop => Message::Doorbell,
        }
    }
}

impl<L: Deref<Target = Link>> Prepared<L> {
    /// [`send`](Self::send) on this lane.
    #[cold]
    #[inline(never)]
    pub(super) fn send_on_socket(&mut self, link: &Link, lane: &SocketLane) -> Result<(), SendFailure> {
        let Some(slot) = &self.slot else {
            return link.push_on_socket(lane, &self.entry, &[]).map(drop);
        };
        let Body::Slot(descriptor) = self.entry.body() else {
            unreachable!("an entry with a slot describes it")
        };
        let is_sent = link.push_on_socket(lane, &self.entry, slot.bytes(descriptor.length as usize))?;
        // A slot whose bytes went into the frame goes back.
        if let (true, Some(slot)) = (is_sent, self.slot.take()) {
            slot.into_claim();
        }
        Ok(())
    }
}

/// What a message that came over the socket is in the ring's words.
///
/// # Errors
/// If it may not come here, or names what there is not. Where its bytes lie is checked when they are read.
#[cold]
pub(super) fn translate(
    link: &Link,
    lane: &SocketLane,
    role: Role,
    segments: &PeerSegments,
    message: Message,
) -> Result<Came, Violation> {
    let descriptor = |span: Span| match span.size {
        0 => Ok(None),
        length => {
            let handle = segments.handle_at(span.segment_id, span.offset)?;
            Ok(Some(Descriptor { handle, offset: span.offset, length }))
        }
    };
    let mut metadata = Metadata::default();
    let entry = match (role, message) {
        (Role::Server, Message::RpcRequest(request)) => {
            is_ours(link, &request.connection_id)?;
            let method = link.methods().iter().position(|name| *name == request.method);
            let method = method.map_or(UNKNOWN_METHOD, |number| number as u32);
            let (call_id, timeout_us) = (request.call_id, request.timeout_us);
            lane.remember(call_id, method);
            metadata = request.metadata;
            let shape = match (request.streaming, request.messages_follow) {
                (false, _) => Shape::Unary,
                (true, false) => Shape::OneRequest,
                (true, true) => Shape::ManyRequests,
            };
            let entry = match descriptor(request.request)? {
                None => Entry::request_inline(method, call_id, timeout_us, &[]),
                Some(descriptor) => Entry::request_slot(method, call_id, timeout_us, descriptor),
            };
            entry.with_shape(shape)
        }
        (Role::Client, Message::RpcResponse(response)) => {
            is_ours(link, &response.connection_id)?;
            let call_id = response.call_id;
            metadata = response.metadata;
            match response.reply.map(descriptor) {
                Ok(descriptor) => match descriptor? {
                    None => Entry::reply_inline(call_id, 0, None, &[]),
                    Some(descriptor) => Entry::reply_slot(call_id, 0, None, descriptor),
                },
                Err(Failure { code, text }) => return Ok(Came::Failure { call_id, code, text, metadata }),
            }
        }
        (Role::Server, Message::Cancel { call_id }) => Entry::cancel(call_id),
        (Role::Server, Message::StreamEnd { call_id }) => Entry::end(call_id),
        (Role::Client, Message::Goaway) => Entry::goaway(),
        (Role::Client, Message::StreamHeaders { call_id, metadata: headers }) => {
            metadata = headers;
            Entry::headers_inline(call_id)
        }
        (_, Message::StreamMessage { call_id, message }) => match descriptor(message)? {
            None => Entry::message_inline(call_id),
            Some(descriptor) => Entry::message_slot(call_id, descriptor),
        },
        (_, Message::StreamCredit { call_id, bytes }) => Entry::credit(call_id, bytes),
        (_, other) => return Err(unexpected(&other)),
    };
    Ok(Came::Entry(entry, metadata))
}

/// The id is for people, but one of another connection shows that its sender has mixed them up.
fn is_ours(link: &Link, connection_id: &str) -> Result<(), Violation> {
    if connection_id.is_empty() || connection_id == link.connection_id() {
        return Ok(());
    }
    let (named, own) = (connection_id, link.connection_id());
    Err(Violation::State(format!("a call of connection {named:?} on the socket of {own:?}")))
}

#[cold]
pub(super) fn unexpected(message: &Message) -> Violation {
    Violation::State(format!("{} on an established connection", message.name()))
}
