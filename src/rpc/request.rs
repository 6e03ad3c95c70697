//! A call's two halves as handlers and callers see them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::os::Credentials;
use crate::rpc::metadata::MetadataMap;
use crate::rpc::rare::Rare;
use crate::rpc::wanted::Wanted;
use crate::wire::Metadata;

/// A message on its way to a handler, with what is known of the call.
///
/// Any message converts into a request; a handler receives it with deadline and peer filled in.
#[derive(Debug, Clone)]
pub struct Request<T> {
    message: T,
    metadata: MetadataMap,
    context: Context,
}

/// What a handler may know of the call it serves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    pub(crate) deadline: Option<Instant>,
    pub(crate) peer: Option<Credentials>,
    pub(crate) wanted: Option<Wanted>,
}

impl<T> Request<T> {
    /// Wraps a message.
    pub fn new(message: T) -> Self {
        Self { message, metadata: MetadataMap::new(), context: Context::default() }
    }

    #[inline(always)]
    pub(crate) fn received(message: T, metadata: Option<Box<Metadata>>, context: Context) -> Self {
        Self { message, metadata: MetadataMap::initial(metadata), context }
    }

    /// The metadata as they travel before the message.
    pub(crate) fn encoded_metadata(&self) -> Vec<u8> {
        self.metadata.encoded()
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to be changed in place.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// Gives the message up to the caller.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// What the caller says of the call.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The same, to be added to before the call.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    /// When the caller stops waiting; `None` when it waits for ever, or on the caller's own side.
    ///
    /// The deadline travels as a duration, so the two processes need not agree on a clock.
    pub fn deadline(&self) -> Option<Instant> {
        self.context.deadline
    }

    /// Time left until the deadline: zero once it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.context.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// Whether nobody waits for the answer any more: the caller has given up, the deadline has passed, the
    /// connection is gone, or the call has been answered. Always false on the caller's own side.
    ///
    /// For blocking handlers that take long: one that asks now and then, and returns once it is so, leaves
    /// its thread to others. Whatever it returns is dropped then. Any thread may ask, also of a clone.
    /// Futures need not ask: they are dropped.
    ///
    /// With [`Handlers::Inline`](crate::server::Handlers::Inline) the thread that would hear of it is busy
    /// with the handler: only the deadline is seen then.
    pub fn is_cancelled(&self) -> bool {
        self.context.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.context.wanted.is_some_and(|wanted| !wanted.is_wanted())
    }

    /// Who called, as the kernel told at connect; `None` on the caller's own side.
    pub fn peer(&self) -> Option<Credentials> {
        self.context.peer
    }
}

impl<T> From<T> for Request<T> {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

/// A handler's successful answer.
#[derive(Debug, Clone)]
pub struct Response<T> {
    message: T,
    /// What is said beside the message: one word where there is nothing, because most answers say no more.
    remarks: Rare<Remarks>,
}

/// What is said before a message and after it.
#[derive(Debug, Clone, Default)]
struct Remarks {
    metadata: MetadataMap,
    trailers: MetadataMap,
}

/// Nothing.
static NO_REMARKS: Remarks = Remarks { metadata: MetadataMap::new(), trailers: MetadataMap::new() };

impl<T> Response<T> {
    /// Wraps a message.
    #[inline]
    pub fn new(message: T) -> Self {
        Self { message, remarks: Rare::NONE }
    }

    #[inline(always)]
    pub(crate) fn received(message: T, metadata: Option<Box<Metadata>>) -> Self {
        Self { message, remarks: metadata.map_or(Rare::NONE, remarks_of) }
    }

    /// Whether there may be anything but the message.
    #[inline(always)]
    pub(crate) fn has_remarks(&self) -> bool {
        self.remarks.get().is_some()
    }

    /// Everything but the message, as it travels before that.
    pub(crate) fn encoded_metadata(&self) -> Vec<u8> {
        let (initial, trailing) = (self.metadata().to_pairs(), self.trailers().to_pairs());
        Metadata { initial, trailing, details: Bytes::new() }.encode()
    }

    /// Message, initial metadata, trailing metadata.
    pub(crate) fn into_parts(mut self) -> (T, MetadataMap, MetadataMap) {
        let Remarks { metadata, trailers } = self.remarks.take().unwrap_or_default();
        (self.message, metadata, trailers)
    }

    /// The same answer with another message.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Response<U> {
        Response { message: change(self.message), remarks: self.remarks }
    }

    /// What the handler says before its message.
    pub fn metadata(&self) -> &MetadataMap {
        &self.remarks().metadata
    }

    /// The same, to be added to before the answer is given.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.remarks.get_or_default().metadata
    }

    /// What the handler says after its message. Of a response that is a stream these come with its end, and
    /// are the stream's.
    pub fn trailers(&self) -> &MetadataMap {
        &self.remarks().trailers
    }

    /// The same, to be added to before the answer is given.
    pub fn trailers_mut(&mut self) -> &mut MetadataMap {
        &mut self.remarks.get_or_default().trailers
    }

    fn remarks(&self) -> &Remarks {
        self.remarks.get().unwrap_or(&NO_REMARKS)
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to be changed in place.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// Gives the message up to the caller.
    pub fn into_inner(self) -> T {
        self.message
    }
}

#[cold]
#[expect(clippy::boxed_local, reason = "unpacked out of line")]
fn remarks_of(metadata: Box<Metadata>) -> Rare<Remarks> {
    let Metadata { initial, trailing, .. } = *metadata;
    let (metadata, trailers) = (MetadataMap::from_pairs(initial), MetadataMap::from_pairs(trailing));
    Rare::new(Remarks { metadata, trailers })
}

impl<T> From<T> for Response<T> {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}
