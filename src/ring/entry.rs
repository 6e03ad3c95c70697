//! What an entry means: the fields of its head, and the checks that a peer's entry must pass.
//!
//! | word | request | reply | message, headers | credit | cancel, end | goaway, NOP |
//! |---|---|---|---|---|---|---|
//! | kind | 1 | 2 | 6, 9 | 8 | 3, 7 | 4, 5 |
//! | flags | SLOT, FILL, STREAM, MORE | SLOT, FILL | SLOT | none | none | none |
//! | meta_len | bytes of metadata | the same | 0; all there is | 0 | 0 | 0 |
//! | call_id | the call | the call | the call | the call | the call | 0 |
//! | code | method id | status code | 0 | bytes granted | 0 | 0 |
//! | deadline_us | time left, µs; 0 none; saturates | released handle + 1; 0 none | 0 | 0 | 0 | 0 |
//! | handle | the slot's, or 0 | the same | the same | 0 | 0 | 0 |
//! | length | inline length, 0 with a slot | the same | the same | 0 | 0 | 0 |
//! | reserved | 0 | 0 | 0 | 0 | 0 | 0 |
//!
//! The body holds the inline bytes, or the descriptor's offset and length. Metadata precedes the message
//! there, and counts as part of it. With FILL, which implies SLOT, the message is still being written, and
//! the body's next two words are its fill line and the level at which it starts; such a message has no
//! metadata, and is none of a stream's. With STREAM the call is one of streams; with MORE beside it, the
//! request has no message: those of the client follow as entries of their own. [`Entry::admit`] accepts
//! exactly what the builders build, so each field that a kind does not use is zero and can get a meaning in a
//! later version. A descriptor stays raw here: whether it lies inside a slot is the slab's question.

mod admit;

use super::inline::Inline;
use super::record::{FLAG_FILL, FLAG_MORE, FLAG_SLOT, FLAG_STREAM, NOP, Record, word};
use crate::layout::words::{BODY_WORDS, HEAD_WORDS};

// The drawing counts bytes from the low end of each word, and inline bytes are read through words.
#[cfg(target_endian = "big")]
compile_error!("mmap-rpc's entries are little-endian, and so must the machine be");

/// Longest message that travels inside an entry, in bytes.
pub(crate) const INLINE_BYTES: usize = BODY_WORDS * 8;

const _: () = assert!(INLINE_BYTES == 96 && HEAD_WORDS == word::RESERVED + 1);

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A call begins.
    Request = 1,
    /// A call ends.
    Reply = 2,
    /// The caller is no longer interested.
    Cancel = 3,
    /// No further requests are taken.
    Goaway = 4,
    /// Nothing: a position that was taken and given up.
    Nop = NOP,
    /// A message of a stream.
    Message = 6,
    /// The client sends no further message of this call.
    End = 7,
    /// The reader of a stream takes so much more.
    Credit = 8,
    /// The server has taken up a call whose reply is a stream.
    Headers = 9,
}

/// Which sides of a call are streams, as its client says: whether its own is decides what else may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Shape {
    /// One message, and one reply.
    #[default]
    Unary,
    /// One message; of the reply there may be many.
    OneRequest,
    /// Messages follow the request, which has none itself.
    ManyRequests,
}

impl TryFrom<u8> for Kind {
    type Error = &'static str;

    #[inline]
    fn try_from(raw: u8) -> Result<Self, &'static str> {
        Ok(match raw {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Cancel,
            4 => Self::Goaway,
            NOP => Self::Nop,
            6 => Self::Message,
            7 => Self::End,
            8 => Self::Credit,
            9 => Self::Headers,
            _ => return Err("unknown kind"),
        })
    }
}

/// Where a message lies in its sender's region, as the sender says: nothing of it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// The slot's number.
    pub(crate) handle: u32,
    /// Offset of the first byte, in bytes.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) length: u64,
}

/// How the reader of a message that is still being written follows it: the sender's words, not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FillStart {
    /// Which fill line of the sender.
    pub(crate) line: u64,
    /// The line's level before the message's first byte.
    pub(crate) start: u64,
}

/// A message, or where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// The message, in the private copy of the entry.
    Inline(&'a [u8]),
    /// The message is in a slot of its sender.
    Slot(Descriptor),
    /// The message is being written into a slot of its sender.
    Fill(Descriptor, FillStart),
}

/// An entry that we built, or that a peer built and [`admit`](Entry::admit) accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    record: Record,
    /// The record's kind byte, checked.
    kind: Kind,
}

impl Entry {
    /// A request whose message is at most [`INLINE_BYTES`] long. `deadline_us` is the time left for the call
    /// in microseconds, 0 if it has no deadline.
    ///
    /// To encode in place, build it with `&[]`, then use [`inline_mut`](Self::inline_mut) and
    /// [`set_inline_length`](Self::set_inline_length).
    ///
    /// # Panics
    /// If the message is longer: the caller chooses a slot for it.
    #[inline(always)]
    pub(crate) fn request_inline(method: u32, call_id: u32, deadline_us: u32, message: &[u8]) -> Self {
        Self::blank(Kind::Request, call_id, method, deadline_us).with_inline(message)
    }

    /// A request whose message is in a slot.
    #[inline]
    pub(crate) fn request_slot(method: u32, call_id: u32, deadline_us: u32, slot: Descriptor) -> Self {
        Self::blank(Kind::Request, call_id, method, deadline_us).with_slot(slot)
    }

    /// A reply whose message is at most [`INLINE_BYTES`] long. `released` is the handle of the request's
    /// slot, if this reply gives it back.
    ///
    /// # Panics
    /// If the message is longer.
    #[inline(always)]
    pub(crate) fn reply_inline(call_id: u32, code: u32, released: Option<u32>, message: &[u8]) -> Self {
        Self::blank(Kind::Reply, call_id, code, encode_released(released)).with_inline(message)
    }

    /// A reply whose message is in a slot; `released` as above.
    #[inline]
    pub(crate) fn reply_slot(call_id: u32, code: u32, released: Option<u32>, slot: Descriptor) -> Self {
        Self::blank(Kind::Reply, call_id, code, encode_released(released)).with_slot(slot)
    }

    /// The same request, of a call that has streams. Without a message yet, if messages are to follow.
    #[must_use]
    #[inline(always)]
    pub(crate) fn with_shape(mut self, shape: Shape) -> Self {
        let flags = match shape {
            Shape::Unary => 0,
            Shape::OneRequest => FLAG_STREAM,
            Shape::ManyRequests => FLAG_STREAM | FLAG_MORE,
        };
        self.record.head[word::KIND] |= u32::from(flags) << 8;
        self
    }

    /// A message of a stream, to be encoded in place as in [`request_inline`](Self::request_inline).
    #[inline]
    pub(crate) fn message_inline(call_id: u32) -> Self {
        Self::blank(Kind::Message, call_id, 0, 0)
    }

    /// A message of a stream that is in a slot.
    #[inline]
    pub(crate) fn message_slot(call_id: u32, slot: Descriptor) -> Self {
        Self::blank(Kind::Message, call_id, 0, 0).with_slot(slot)
    }

    /// The server has taken up a call, and says `metadata`, which are all of the entry's bytes.
    pub(crate) fn headers_inline(call_id: u32) -> Self {
        Self::blank(Kind::Headers, call_id, 0, 0)
    }

    /// The same, with metadata in a slot.
    pub(crate) fn headers_slot(call_id: u32, slot: Descriptor) -> Self {
        Self::blank(Kind::Headers, call_id, 0, 0).with_slot(slot)
    }

    /// The same entry, whose first `len` bytes are metadata.
    ///
    /// # Panics
    /// If they are more than it can say.
    #[must_use]
    pub(crate) fn with_metadata(mut self, len: usize) -> Self {
        let len = u16::try_from(len).expect("metadata is short");
        self.record.head[word::KIND] |= u32::from(len) << 16;
        self
    }

    /// The same entry, for a message that is still being written into its slot.
    ///
    /// # Panics
    /// If the message is not in a slot.
    #[must_use]
    pub(crate) fn with_fill(mut self, fill: FillStart) -> Self {
        assert!(self.has_slot());
        self.record.head[word::KIND] |= u32::from(FLAG_FILL) << 8;
        self.record.body[2] = fill.line;
        self.record.body[3] = fill.start;
        self
    }

    /// The caller gave up on this call.
    pub(crate) fn cancel(call_id: u32) -> Self {
        Self::blank(Kind::Cancel, call_id, 0, 0)
    }

    /// The client sends no further message of this call.
    pub(crate) fn end(call_id: u32) -> Self {
        Self::blank(Kind::End, call_id, 0, 0)
    }

    /// The reader of a call's stream takes `bytes` more, which is not zero.
    pub(crate) fn credit(call_id: u32, bytes: u32) -> Self {
        Self::blank(Kind::Credit, call_id, bytes, 0)
    }

    /// No further requests are taken.
    pub(crate) fn goaway() -> Self {
        Self::blank(Kind::Goaway, 0, 0, 0)
    }

    /// Nothing.
    pub(crate) fn nop() -> Self {
        Self::blank(Kind::Nop, 0, 0, 0)
    }

    /// Whether the message is in the entry, and nothing else is said of it.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.record.head[word::KIND] >> 8 == 0
    }

    /// How many of the first bytes are metadata.
    #[inline]
    pub(crate) fn meta_len(&self) -> usize {
        (self.record.head[word::KIND] >> 16) as usize
    }

    /// Which sides of a request's call are streams.
    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        match self.flags() & (FLAG_STREAM | FLAG_MORE) {
            0 => Shape::Unary,
            FLAG_STREAM => Shape::OneRequest,
            _ => Shape::ManyRequests,
        }
    }

    #[inline(always)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The call that this is about; 0 for those that are about none.
    #[inline(always)]
    pub(crate) fn call_id(&self) -> u32 {
        self.record.head[word::CALL_ID]
    }

    /// Method id of a request, status code of a reply, bytes of a credit; none has been checked.
    #[inline(always)]
    pub(crate) fn code(&self) -> u32 {
        self.record.head[word::CODE]
    }

    /// Time left for a request, in microseconds; 0 if there is no deadline. `u32::MAX` is "that, or more".
    #[inline(always)]
    pub(crate) fn deadline_us(&self) -> u32 {
        if self.kind == Kind::Request { self.record.head[word::DEADLINE] } else { 0 }
    }

    /// The handle that a reply gives back; a claim of the peer's, not checked.
    #[inline(always)]
    pub(crate) fn released(&self) -> Option<u32> {
        if self.kind == Kind::Reply { self.record.head[word::DEADLINE].checked_sub(1) } else { None }
    }

    /// The message, or where it is. Kinds without a message have an empty one.
    #[inline(always)]
    pub(crate) fn body(&self) -> Body<'_> {
        if self.has_slot() {
            let handle = self.record.head[word::HANDLE];
            let slot = Descriptor { handle, offset: self.record.body[0], length: self.record.body[1] };
            if self.flags() & FLAG_FILL == 0 {
                return Body::Slot(slot);
            }
            Body::Fill(slot, FillStart { line: self.record.body[2], start: self.record.body[3] })
        } else {
            Body::Inline(self.inline().as_slice())
        }
    }

    /// The message of an entry that has one inside it; else an empty one.
    #[inline(always)]
    pub(crate) fn inline(&self) -> Inline<'_> {
        if self.has_slot() {
            return Inline::EMPTY;
        }
        // SAFETY: the array is `INLINE_BYTES` initialised bytes without padding, borrowed for as long as the
        // result; bytes need no alignment.
        let bytes = unsafe { &*(&raw const self.record.body).cast() };
        Inline::new(bytes, self.record.head[word::LENGTH] as usize)
    }

    /// What goes into the ring.
    #[inline(always)]
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The room for an inline message, to be encoded in place.
    ///
    /// # Panics
    /// If the message is in a slot: the descriptor is in this room.
    #[inline(always)]
    pub(crate) fn inline_mut(&mut self) -> &mut [u8; INLINE_BYTES] {
        assert!(!self.has_slot());
        // SAFETY: the array is `INLINE_BYTES` initialised bytes without padding, borrowed mutably for as long
        // as the result; bytes need no alignment, and any bytes are valid words.
        unsafe { &mut *(&raw mut self.record.body).cast() }
    }

    /// How many of the inline bytes are the message.
    ///
    /// # Panics
    /// If that is more than there are, the kind has no message, or the message is in a slot.
    #[inline(always)]
    pub(crate) fn set_inline_length(&mut self, length: usize) {
        assert!(length <= INLINE_BYTES && !self.has_slot());
        assert!(matches!(self.kind, Kind::Request | Kind::Reply | Kind::Message | Kind::Headers));
        self.record.head[word::LENGTH] = length as u32;
    }

    #[inline(always)]
    fn blank(kind: Kind, call_id: u32, code: u32, deadline: u32) -> Self {
        let mut head = [0; HEAD_WORDS];
        head[word::KIND] = kind as u32;
        head[word::CALL_ID] = call_id;
        head[word::CODE] = code;
        head[word::DEADLINE] = deadline;
        Self { record: Record::new(head, [0; BODY_WORDS]), kind }
    }

    #[inline(always)]
    fn with_inline(mut self, message: &[u8]) -> Self {
        self.inline_mut()[..message.len()].copy_from_slice(message);
        self.set_inline_length(message.len());
        self
    }

    #[inline]
    fn with_slot(mut self, slot: Descriptor) -> Self {
        self.record.head[word::KIND] |= u32::from(FLAG_SLOT) << 8;
        self.record.head[word::HANDLE] = slot.handle;
        self.record.body[0] = slot.offset;
        self.record.body[1] = slot.length;
        self
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        (self.record.head[word::KIND] >> 8) as u8
    }

    /// Whether the message is in a slot.
    #[inline(always)]
    pub(crate) fn has_slot(&self) -> bool {
        self.flags() & FLAG_SLOT != 0
    }
}

/// A released handle as it stands in a reply. Handles are small: one that cannot be represented is not ours.
#[inline]
fn encode_released(released: Option<u32>) -> u32 {
    released.map_or(0, |handle| handle.checked_add(1).expect("a handle is below MAX_HANDLES"))
}
