//! A call whose handler has to wait: a task of its own, from the first time that it does to its answer.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::rpc::{Encode, Record, Response, Span, Status};
use crate::server::caller::{Caller, OwnedCaller};
use crate::server::executor::Counted;
use crate::server::incoming::{Incoming, OwnedIncoming, end_streams};
use crate::server::panics::{log_panic, panic_text};
use crate::server::peer::Answer;

/// A handler under way, and whom its answer goes to.
pub(super) struct Detached<F> {
    handler: Pin<Box<F>>,
    owed: Owed,
}

/// An answer that is owed; if nobody gives it, the call fails.
pub(super) struct Owed {
    caller: OwnedCaller,
    call: OwnedIncoming,
    answer: Answer,
    given: bool,
    record: Record,
    /// Dropped last: the answer is sent, or waits in a backlog.
    _counted: Counted,
}

impl<F> Detached<F> {
    pub(super) fn new(handler: Pin<Box<F>>, owed: Owed) -> Self {
        Self { handler, owed }
    }
}

impl<F, Resp> Future for Detached<F>
where
    F: Future<Output = Result<Response<Resp>, Status>>,
    Resp: Encode,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { handler, owed } = self.get_mut();
        let _entered = owed.record.enter();
        // First the waker, then the look: whoever cancels does it the other way round.
        owed.watch(cx.waker());
        if let Err(status) = owed.check_wanted() {
            owed.fail(&status);
            return Poll::Ready(());
        }
        // Unwind safe: after a panic the handler is dropped, and the call only answered.
        match panic::catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => owed.answer(outcome),
            Err(panic) => {
                log_panic(owed.caller.as_ref(), owed.call.method, &*panic);
                owed.fail(&panic_text(&*panic));
            }
        }
        Poll::Ready(())
    }
}

impl Owed {
    pub(super) fn new(
        caller: OwnedCaller,
        call: OwnedIncoming,
        answer: Answer,
        counted: Counted,
        record: Record,
    ) -> Self {
        Self { caller, call, answer, given: false, record, _counted: counted }
    }

    pub(super) fn caller(&self) -> &OwnedCaller {
        &self.caller
    }

    pub(super) fn span(&self) -> Span {
        self.record.span()
    }

    pub(super) fn call(&self) -> &OwnedIncoming {
        &self.call
    }

    /// Leaves a waker, to be woken when nobody waits for the answer any more.
    pub(super) fn watch(&self, waker: &Waker) {
        self.caller.as_ref().watch(self.call.call_id, waker);
    }

    /// Has the call served after all, by what answers it.
    pub(super) fn serve(mut self, serve: impl FnOnce(Caller<'_>, Incoming<'_>, Record)) {
        self.caller.as_ref().forget(self.call.call_id);
        self.given = true;
        let record = mem::take(&mut self.record);
        serve(self.caller.as_ref(), self.call.as_ref(), record);
    }

    /// Whether anybody still waits for the answer.
    pub(super) fn check_wanted(&self) -> Result<(), Status> {
        self.call.as_ref().check_wanted(self.caller.as_ref())
    }

    /// The answer is about to be given.
    fn give(&mut self) {
        self.caller.as_ref().forget(self.call.call_id);
        if let Some(flow) = self.call.flow() {
            end_streams(flow);
        }
        self.given = true;
    }

    pub(super) fn answer<M: Encode>(&mut self, outcome: Result<Response<M>, Status>) {
        match self.check_wanted().and(outcome) {
            Err(status) => self.fail(&status),
            Ok(response) => {
                self.give();
                self.record.end(None);
                let reply = || self.caller.as_ref().reply(self.answer, &response);
                // The reply may be of a type written by hand, which may panic as well.
                if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(reply)) {
                    log_panic(self.caller.as_ref(), self.call.method, &*panic);
                    self.fail(&panic_text(&*panic));
                }
            }
        }
    }

    pub(super) fn fail(&mut self, status: &Status) {
        self.give();
        self.record.end(Some(status));
        self.caller.as_ref().fail(self.answer, status);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.given {
            let status = match self.check_wanted() {
                _ if thread::panicking() => Status::internal("the handler panicked"),
                Err(status) => status,
                Ok(()) => Status::unavailable("the runtime of the server ended before the call was answered"),
            };
            self.fail(&status);
        }
    }
}
