//! The messages of a response, as they come out of a channel.

#[cfg(feature = "tokio")]
use std::task::ready;
use std::task::{Context, Poll};

use crate::client::reading::failure;
use crate::client::streams::held::Held;
use crate::connection::{Flow, Received};
use crate::ring::Entry;
use crate::rpc::{MetadataMap, Status};
use crate::streaming::Source;

pub(super) struct Responses {
    /// `None` after the end.
    call: Option<Held>,
    metadata: Option<MetadataMap>,
    trailers: Option<MetadataMap>,
}

impl Responses {
    pub(super) fn new(call: Held) -> Self {
        Self { call: Some(call), metadata: None, trailers: None }
    }

    /// Whether the server has taken up the call: says so, or has sent a message, or has ended it.
    pub(super) fn is_begun(flow: &Flow) -> bool {
        flow.headers().is_some() || flow.has_message()
    }

    pub(super) fn call(&mut self) -> Option<&mut Held> {
        self.call.as_mut()
    }

    /// What the server said at the beginning, for the response; or why there is none.
    pub(super) fn begin(&mut self) -> Result<MetadataMap, Status> {
        if let Some(call) = &self.call
            && !Self::is_begun(&call.flow)
        {
            // Then it has ended at once.
            self.end()?;
        }
        self.keep_metadata();
        Ok(self.metadata.clone().unwrap_or_default())
    }

    fn keep_metadata(&mut self) {
        if self.metadata.is_none()
            && let Some(headers) = self.call.as_ref().and_then(|call| call.flow.headers())
        {
            self.metadata = Some(MetadataMap::from_pairs(headers.initial.clone()));
        }
    }

    /// The next message, if it is there; and the end, if it is.
    fn look(&mut self) -> Option<Result<Option<Received>, Status>> {
        let Some(call) = &self.call else { return Some(Ok(None)) };
        if let Err(status) = call.core.check_process() {
            return Some(Err(status));
        }
        // First the end, then the messages before it.
        let is_answered = call.is_answered();
        if let Some(message) = call.flow.take() {
            for bytes in call.flow.was_read(message.len()).filter(|_| !is_answered) {
                call.core.tell(Entry::credit(call.call_id(), bytes));
            }
            if self.metadata.is_none() {
                self.keep_metadata();
            }
            return Some(Ok(Some(message)));
        }
        is_answered.then(|| self.end().map(|()| None))
    }

    /// Takes the reply, which is there.
    fn end(&mut self) -> Result<(), Status> {
        self.keep_metadata();
        let Some(mut call) = self.call.take() else { return Ok(()) };
        let trailing = call.take(|code, mut payload| match code {
            0 if payload.len() > 0 => {
                Err(Status::internal("the server answers with one message where a stream was called for"))
            }
            0 => Ok(payload.take_metadata().map_or_else(Vec::new, |metadata| metadata.trailing)),
            code => Err(failure(code, payload)),
        })?;
        self.trailers = Some(MetadataMap::from_pairs(trailing));
        Ok(())
    }

    /// The call is over for us, before its end has come.
    fn give_up(&mut self, status: Status) -> Result<Option<Received>, Status> {
        self.call = None;
        Err(status)
    }
}

impl Source for Responses {
    fn wait(&mut self) -> Result<Option<Received>, Status> {
        loop {
            if let Some(found) = self.look() {
                return found;
            }
            let call = self.call.as_mut().expect("looked at");
            if let Err(status) = call.wait_until(Flow::has_message) {
                return self.give_up(status);
            }
        }
    }

    #[cfg(feature = "tokio")]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>, Status>> {
        loop {
            if let Some(found) = self.look() {
                return Poll::Ready(found);
            }
            let call = self.call.as_mut().expect("looked at");
            if let Err(status) = ready!(call.poll_until(cx, Flow::has_message)) {
                return Poll::Ready(self.give_up(status));
            }
        }
    }

    /// Without runtimes nobody else receives: this thread does.
    #[cfg(not(feature = "tokio"))]
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Received>, Status>> {
        Poll::Ready(self.wait())
    }

    fn metadata(&self) -> Option<&MetadataMap> {
        self.metadata.as_ref()
    }

    fn trailers(&self) -> Option<&MetadataMap> {
        self.trailers.as_ref()
    }
}
