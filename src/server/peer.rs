//! What everybody who serves one connection shares: its link, its calls, and the replies that wait.

use std::sync::{Arc, Weak};

use crate::connection::{
    Filled, Head, Link, Prepared, SendFailure, encode_inline, prepare, prepare_annotated,
    prepare_bytes_behind,
};
use crate::layout::Handle;
use crate::raw::RawBody;
use crate::ring::{Entry, INLINE_BYTES};
use crate::rpc::{Callers, Code, Encode, Listing, Response, Status, encode_to_vec};
use crate::server::backlog::{Backlog, Queued};
use crate::server::calls::Calls;

/// Bytes of replies that may be kept outside of the region, as a multiple of its cap. At one cap the reactor
/// stops taking requests; the rest is for those that handlers of a pool had before.
const MOST_CAPS_ASIDE: u64 = 4;

/// One client, as its reactor and the handlers of its calls see it.
pub(super) struct Peer {
    pub(super) link: Arc<Link>,
    pub(super) calls: Calls,
    pub(super) backlog: Backlog,
    /// Where handlers find it who ask whether they are wanted.
    pub(super) listing: Listing,
}

/// A call that is to be answered, and the slot of its request if the answer gives that back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) call_id: u32,
    pub(super) released: Option<Handle>,
}

impl Answer {
    fn head(self, code: Code) -> Head {
        Head::Reply { call_id: self.call_id, code: code.as_u32(), released: self.released }
    }
}

impl Peer {
    pub(super) fn new(link: Link) -> Arc<Self> {
        let calls = Calls::new(link.limits().max_in_flight);
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            link: Arc::new(link),
            calls,
            backlog: Backlog::default(),
            listing: Listing::new(this.clone()),
        })
    }

    /// Answers with a message.
    #[inline(always)]
    pub(super) fn reply<M: Encode>(&self, answer: Answer, response: &Response<M>) {
        if response.has_remarks() {
            return self.reply_annotated(answer, response);
        }
        let message = response.get_ref();
        let (head, len) = (answer.head(Code::Ok), message.encoded_len());
        if len <= INLINE_BYTES {
            return self.reply_inline(answer, head, message, len);
        }
        let filled = match Filled::begin(&self.link, head, len) {
            Ok(Some(filled)) => return self.fill(answer, filled, message),
            Ok(None) => prepare(&*self.link, head, message, len),
            Err(failure) => Err(failure),
        };
        match filled {
            Ok(prepared) => self.send(answer, prepared),
            Err(SendFailure::Wait) => self.encode_aside(answer, head, Vec::new(), message),
            Err(SendFailure::Failed(status)) => self.fail(answer, &status),
        }
    }

    #[cold]
    fn reply_annotated<M: Encode>(&self, answer: Answer, response: &Response<M>) {
        let (head, message) = (answer.head(Code::Ok), response.get_ref());
        let metadata = response.encoded_metadata();
        match prepare_annotated(&*self.link, head, &metadata, message, message.encoded_len()) {
            Ok(prepared) => self.send(answer, prepared),
            Err(SendFailure::Wait) => self.encode_aside(answer, head, metadata, message),
            Err(SendFailure::Failed(status)) => self.fail(answer, &status),
        }
    }

    /// Answers with a message that travels in its entry.
    #[inline(always)]
    fn reply_inline<M: Encode>(&self, answer: Answer, head: Head, message: &M, len: usize) {
        let mut entry = head.inline();
        if let Err(status) = encode_inline(&mut entry, message, len) {
            return self.fail(answer, &status);
        }
        self.send_entry(answer, &entry);
    }

    #[inline(always)]
    fn send_entry(&self, answer: Answer, entry: &Entry) {
        self.calls.end(answer.call_id);
        if let Err(SendFailure::Wait) = self.link.push(entry, None) {
            self.backlog.push(&self.link, Queued::Entry(entry.clone()));
        }
    }

    /// Answers with a message that the client reads while it is written.
    fn fill<M: Encode>(&self, answer: Answer, filled: Filled<'_>, message: &M) {
        if let Err(status) = filled.send(message, || self.calls.end(answer.call_id)) {
            // The client forgets what it has of the message, before or after it sees the failure.
            self.fail(answer, &status);
        }
    }

    /// Answers with bytes.
    pub(super) fn reply_raw(&self, answer: Answer, mut body: RawBody<'static>) {
        let head = answer.head(Code::Ok);
        if let Some(bytes) = body.inline() {
            return self.send_entry(answer, &head.inline_with(bytes));
        }
        match body.prepare(&self.link, head) {
            Ok(prepared) => self.send_owned(answer, prepared),
            Err(SendFailure::Wait) => self.put_aside(answer, head, Vec::new(), body.into_vec()),
            Err(SendFailure::Failed(status)) => self.fail(answer, &status),
        }
    }

    /// Answers with a status.
    #[cold]
    pub(super) fn fail(&self, answer: Answer, status: &Status) {
        // A failure needs a code that says so: a handler that fails with `Ok` has not said why.
        let code = if status.code() == Code::Ok { Code::Unknown } else { status.code() };
        let (head, mut text, mut metadata) = (answer.head(code), Vec::new(), status.encoded_metadata());
        status.encode_payload(&mut text);
        if metadata.len() > self.link.limits().max_metadata_size as usize {
            let (connection, len) = (self.link.connection_id(), metadata.len());
            tracing::warn!(%connection, len, "details and metadata of a status exceed max_metadata_size");
            metadata.clear();
        }
        match prepare_bytes_behind(&*self.link, head, &metadata, &text) {
            Ok(prepared) => self.send(answer, prepared),
            Err(SendFailure::Wait) => self.put_aside(answer, head, metadata, text),
            Err(SendFailure::Failed(_)) => self.calls.end(answer.call_id),
        }
    }

    /// Says that so much more of a stream is taken.
    #[cold]
    pub(super) fn credit(&self, call_id: u32, bytes: u32) {
        let entry = Entry::credit(call_id, bytes);
        if let Err(SendFailure::Wait) = self.link.push(&entry, None) {
            self.backlog.push(&self.link, Queued::Entry(entry));
        }
    }

    /// Says that no further requests are taken.
    pub(super) fn goaway(&self) {
        let entry = Entry::goaway();
        if let Err(SendFailure::Wait) = self.link.push(&entry, None) {
            self.backlog.push(&self.link, Queued::Entry(entry));
        }
    }

    /// Whether every call has been answered and every answer sent.
    pub(super) fn is_drained(&self) -> bool {
        self.calls.is_idle() && self.backlog.is_empty() && self.link.is_flushed()
    }

    /// Whether so much waits for the client that no further requests are taken until it has taken some.
    pub(super) fn is_congested(&self) -> bool {
        !self.backlog.is_empty() && self.backlog.bytes() as u64 >= self.link.own_cap()
    }

    #[inline]
    fn send(&self, answer: Answer, mut prepared: Prepared<&Link>) {
        self.calls.end(answer.call_id);
        if let Err(SendFailure::Wait) = prepared.send(&self.link) {
            self.backlog.push(&self.link, Queued::Prepared(prepared.owned(&self.link)));
        }
    }

    fn send_owned(&self, answer: Answer, mut prepared: Prepared<Arc<Link>>) {
        self.calls.end(answer.call_id);
        if let Err(SendFailure::Wait) = prepared.send(&self.link) {
            self.backlog.push(&self.link, Queued::Prepared(prepared));
        }
    }

    /// Keeps a message until there is a slot for it.
    #[cold]
    fn encode_aside<M: Encode>(&self, answer: Answer, head: Head, metadata: Vec<u8>, message: &M) {
        match encode_to_vec(message) {
            Ok(bytes) => self.put_aside(answer, head, metadata, bytes),
            Err(status) => self.fail(answer, &status),
        }
    }

    /// Keeps a reply until there is a slot for it.
    #[cold]
    fn put_aside(&self, answer: Answer, head: Head, metadata: Vec<u8>, bytes: Vec<u8>) {
        let cap = self.link.own_cap().saturating_mul(MOST_CAPS_ASIDE);
        let len = metadata.len() + bytes.len();
        let (head, metadata, bytes) = if self.backlog.bytes() as u64 + len as u64 <= cap {
            (head, metadata, bytes)
        } else {
            // A client that takes no replies must not fill our memory with them.
            let status = Status::resource_exhausted(format!(
                "replies of {cap} bytes wait for the client to take them; read replies sooner, or raise \
                 max_region_bytes on both sides"
            ));
            let mut text = Vec::new();
            status.encode_payload(&mut text);
            (answer.head(status.code()), Vec::new(), text)
        };
        self.calls.end(answer.call_id);
        self.backlog.push(&self.link, Queued::Bytes { head, metadata, bytes });
    }
}

impl Callers for Peer {
    fn awaits(&self, call_id: u32) -> bool {
        !self.link.is_closed() && self.calls.awaits(call_id)
    }
}
