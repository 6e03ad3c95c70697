//! Calls on their way through interceptors.
//!
//! ```text
//!   Router ──► interceptors ──all agree──► handler
//!                 │   └──one refuses──► status
//!                 └──one has to wait──► Detained, a task ──all agree──► handler, on a thread that may block
//! ```
//!
//! Nothing of this is on the way of a server without interceptors, but the question whether it has any.

use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::connection::Received;
use crate::rpc::{Chain, IncomingCall, Status};
use crate::server::detached::Owed;
use crate::server::exchange::{Exchange, Handled, Held};
use crate::server::executor::Executor;
use crate::server::panics::{log_panic, panic_text};
use crate::server::router::Router;
use crate::wire::Metadata;

/// What interceptors call each method of a server, and which of them look at its calls.
pub(super) struct Interception(Vec<(Arc<str>, Chain<IncomingCall>)>);

/// Interceptors under way: what the handler is to be told, if all agree.
type Running = Pin<Box<dyn Future<Output = Result<Metadata, Status>> + Send>>;

impl Interception {
    /// `None` if no method has any.
    pub(super) fn new(names: &[String], chains: Vec<Chain<IncomingCall>>) -> Option<Self> {
        let is_any = chains.iter().any(|chain| !chain.is_empty());
        let names = names.iter().map(|name| Arc::from(&**name));
        is_any.then(|| Self(names.zip(chains).collect()))
    }

    /// Has a call served, if no interceptor refuses it.
    #[cold]
    pub(super) fn call(&self, router: &Arc<Router>, mut exchange: Exchange<'_>) -> Handled {
        // Calls of no method have no name, and fail in any case.
        let Some((name, chain)) = self.0.get(exchange.method()) else { return router.route(exchange) };
        if chain.is_empty() {
            return router.route(exchange);
        }
        let held = exchange.held();
        // Unwind safe: after a panic the call is only answered.
        match panic::catch_unwind(AssertUnwindSafe(|| begin(held, router, name, chain))) {
            Ok(true) => return router.route(exchange),
            Ok(false) => {}
            Err(panic) => held.panicked(&*panic),
        }
        exchange.handled()
    }
}

/// Whether a call goes on. If not, it is answered, or others will answer it.
fn begin(held: &mut Held<'_>, router: &Arc<Router>, name: &Arc<str>, chain: &Chain<IncomingCall>) -> bool {
    if let Err(status) = held.check_wanted() {
        held.fail(&status);
        return false;
    }
    let metadata = held.request().take_metadata();
    let call = IncomingCall::new(name.clone(), metadata, held.context());
    let chain = chain.clone();
    let mut running: Running =
        Box::pin(async move { chain.run(call).await.map(IncomingCall::into_metadata) });
    match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(metadata)) => {
            held.request().put_metadata(metadata);
            return true;
        }
        Poll::Ready(Err(status)) => held.fail(&status),
        Poll::Pending => detain(held, router, running),
    }
    false
}

/// Leaves a call to its interceptors, which have to wait.
fn detain(held: &mut Held<'_>, router: &Arc<Router>, running: Running) {
    let request = Some(held.request().keep());
    let (until, executor) = (held.deadline(), held.executor());
    let call = Detained {
        running,
        request,
        owed: Some(held.owe()),
        router: router.clone(),
        executor: executor.clone(),
    };
    executor.finish(call, until);
}

/// A call whose interceptors have to wait, kept whole.
struct Detained {
    running: Running,
    /// `None` once it goes on.
    request: Option<Received>,
    owed: Option<Owed>,
    router: Arc<Router>,
    executor: Executor,
}

impl Future for Detained {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let owed = this.owed.as_mut().expect("a call that went on was polled again");
        let _entered = owed.span().enter();
        // First the waker, then the look: whoever cancels does it the other way round.
        owed.watch(cx.waker());
        if let Err(status) = owed.check_wanted() {
            owed.fail(&status);
            return Poll::Ready(());
        }
        // Unwind safe: after a panic the interceptors are dropped, and the call only answered.
        match panic::catch_unwind(AssertUnwindSafe(|| this.running.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(metadata))) => this.go_on(metadata),
            Ok(Poll::Ready(Err(status))) => owed.fail(&status),
            Err(panic) => {
                log_panic(owed.caller().as_ref(), owed.call().method, &*panic);
                owed.fail(&panic_text(&*panic));
            }
        }
        Poll::Ready(())
    }
}

impl Detained {
    /// Has the call served, on a thread on which its handler may block.
    fn go_on(&mut self, metadata: Metadata) {
        let (owed, request) = (self.owed.take(), self.request.take());
        let (owed, request) = (owed.expect("looked at"), request.expect("taken with it"));
        let (router, executor) = (self.router.clone(), self.executor.clone());
        self.executor.go_on(move || {
            request.arrived(|mut request| {
                request.put_metadata(metadata);
                owed.serve(|caller, call, record| {
                    let _entered = record.enter();
                    let mut held = Held::new(caller, &executor, call, request, record);
                    let _handled = router.route(held.exchange());
                });
            });
        });
    }
}
