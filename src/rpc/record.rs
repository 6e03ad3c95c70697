//! What is told of each call to those who watch: a span with the feature `tracing`, numbers with `metrics`.
//! Without them it is nothing, and takes no room.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "metrics")]
use std::time::Instant;

use crate::rpc::status::{Code, Status};

/// Whether there is anybody to be told.
pub(crate) const IS_ON: bool = cfg!(any(feature = "tracing", feature = "metrics"));

/// Names that stay as long as the program does; none where nobody is told. Each is kept once.
pub(crate) fn lasting(names: &[String]) -> Vec<&'static str> {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if !IS_ON {
        return Vec::new();
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let keep = |name: &String| {
        kept.get(&**name).copied().unwrap_or_else(|| {
            let name: &'static str = name.clone().leak();
            kept.insert(name);
            name
        })
    };
    names.iter().map(keep).collect()
}

/// Which side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A call that is watched, from its beginning to its end. Dropped before that, it was given up.
#[derive(Debug, Default)]
pub(crate) struct Record {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    open: Option<Side>,
    span: Span,
    #[cfg(feature = "metrics")]
    measured: Option<Measured>,
}

/// The span of a call, to be entered by whoever works on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

/// A span that is this thread's current one, until it is dropped.
pub(crate) struct Entered {
    #[cfg(feature = "tracing")]
    _entered: Option<tracing::span::EnteredSpan>,
}

impl Record {
    /// A call begins.
    #[inline(always)]
    pub(crate) fn begin(side: Side, method: &'static str) -> Self {
        if IS_ON { Self::watch(side, method) } else { Self::default() }
    }

    /// The call has ended: in success, unless there is a status of another code.
    #[inline(always)]
    pub(crate) fn end(&mut self, failure: Option<&Status>) {
        if IS_ON {
            self.told(failure);
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    #[inline(always)]
    pub(crate) fn enter(&self) -> Entered {
        self.span.enter()
    }
}

impl Span {
    #[inline(always)]
    pub(crate) fn enter(&self) -> Entered {
        Entered {
            #[cfg(feature = "tracing")]
            _entered: self.span.clone().map(tracing::Span::entered),
        }
    }

    /// Has the span be the current one whenever the future is polled.
    pub(crate) async fn around<T>(self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let _entered = self.enter();
            future.as_mut().poll(cx)
        })
        .await
    }
}

/// Service and method of `/package.Service/Method`.
#[cfg(any(feature = "tracing", feature = "metrics"))]
fn names(method: &'static str) -> (&'static str, &'static str) {
    let name = method.strip_prefix('/').unwrap_or(method);
    name.rsplit_once('/').unwrap_or(("", name))
}

#[cfg(not(any(feature = "tracing", feature = "metrics")))]
impl Record {
    fn watch(_: Side, _: &'static str) -> Self {
        Self::default()
    }

    #[expect(clippy::unused_self, reason = "as with those who watch")]
    fn told(&mut self, _: Option<&Status>) {
        let _ = Code::Ok;
    }
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
impl Record {
    fn watch(side: Side, method: &'static str) -> Self {
        Self {
            open: Some(side),
            span: Span::new(side, method),
            #[cfg(feature = "metrics")]
            measured: Some(Measured::new(side, method)),
        }
    }

    fn told(&mut self, failure: Option<&Status>) {
        let Some(side) = self.open.take() else { return };
        // A failure that says `Ok` has not said why, and its peer is told so.
        let code = failure.map_or(Code::Ok, |status| match status.code() {
            Code::Ok => Code::Unknown,
            code => code,
        });
        self.span.end(side, code, failure.map_or("", Status::message));
        #[cfg(feature = "metrics")]
        if let Some(measured) = self.measured.take() {
            measured.end(code);
        }
    }
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
impl Drop for Record {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.told(Some(&Status::cancelled("the call was dropped")));
        }
    }
}

#[cfg(all(feature = "metrics", not(feature = "tracing")))]
impl Span {
    fn new(_: Side, _: &'static str) -> Self {
        Self::default()
    }

    #[expect(clippy::unused_self, reason = "as with tracing")]
    fn end(&self, _: Side, _: Code, _: &str) {}
}

#[cfg(feature = "tracing")]
impl Span {
    fn new(side: Side, full: &'static str) -> Self {
        let (service, method) = names(full);
        /// The level and the name of a span are part of the program.
        macro_rules! span {
            ($name:literal, $kind:literal) => {
                tracing::info_span!(
                    target: "mmap_rpc::call",
                    $name,
                    otel.name = full.strip_prefix('/').unwrap_or(full),
                    otel.kind = $kind,
                    rpc.system = SYSTEM,
                    rpc.service = service,
                    rpc.method = method,
                    network.transport = "unix",
                    rpc.grpc.status_code = tracing::field::Empty,
                    error.type = tracing::field::Empty,
                    otel.status_code = tracing::field::Empty,
                    otel.status_description = tracing::field::Empty,
                )
            };
        }
        let span = match side {
            Side::Client => span!("rpc.client.call", "client"),
            Side::Server => span!("rpc.server.call", "server"),
        };
        Self { span: Some(span) }
    }

    fn end(&self, side: Side, code: Code, text: &str) {
        let Some(span) = &self.span else { return };
        span.record("rpc.grpc.status_code", code.as_u32());
        if is_error(side, code) {
            span.record("error.type", tracing::field::display(code));
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", text);
        }
    }
}

/// Whether the conventions count it as an error of that side: what a client did wrong is no error of the
/// server.
#[cfg(feature = "tracing")]
fn is_error(side: Side, code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    match side {
        Side::Client => code != Code::Ok,
        Side::Server => {
            matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
        }
    }
}

/// What `rpc.system` is.
#[cfg(any(feature = "tracing", feature = "metrics"))]
const SYSTEM: &str = "mmap_rpc";

/// A call under way, as numbers.
#[cfg(feature = "metrics")]
#[derive(Debug)]
struct Measured {
    side: Side,
    labels: [metrics::Label; 3],
    begun: Instant,
}

#[cfg(feature = "metrics")]
impl Measured {
    fn new(side: Side, full: &'static str) -> Self {
        let (service, method) = names(full);
        let label = |key, value| metrics::Label::from_static_parts(key, value);
        let labels =
            [label("rpc.system", SYSTEM), label("rpc.service", service), label("rpc.method", method)];
        let measured = Self { side, labels, begun: Instant::now() };
        measured.active().increment(1.0);
        measured
    }

    fn active(&self) -> metrics::Gauge {
        let name = match self.side {
            Side::Client => "rpc.client.active_calls",
            Side::Server => "rpc.server.active_calls",
        };
        metrics::gauge!(name, self.labels.iter())
    }

    fn end(self, code: Code) {
        self.active().decrement(1.0);
        let (calls, duration) = match self.side {
            Side::Client => ("rpc.client.calls", "rpc.client.call.duration"),
            Side::Server => ("rpc.server.calls", "rpc.server.call.duration"),
        };
        let [system, service, method] = self.labels;
        let labels = vec![
            system,
            service,
            method,
            metrics::Label::new("rpc.grpc.status_code", code.as_u32().to_string()),
        ];
        metrics::counter!(calls, labels.iter()).increment(1);
        metrics::histogram!(duration, labels).record(self.begun.elapsed().as_secs_f64());
    }
}
