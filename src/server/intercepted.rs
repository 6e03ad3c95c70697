//! A service whose calls are looked at before they are answered.

use std::fmt;
use std::sync::Arc;

use crate::rpc::{IncomingCall, Interceptor};
use crate::server::exchange::{Exchange, Handled};
use crate::server::router::Service;

/// A service with an interceptor of its own: `with_interceptor` of generated servers.
///
/// The interceptor sees the calls of this service alone, after those of
/// [the whole server](crate::ServerBuilder::interceptor). Intercepted once more, a service has several, which
/// run in the order in which they were added.
pub struct Intercepted<S> {
    service: S,
    interceptor: Arc<dyn Interceptor<IncomingCall>>,
}

impl<S: Service> Intercepted<S> {
    /// Has an interceptor look at each call of a service.
    pub fn new(service: S, interceptor: impl Interceptor<IncomingCall>) -> Self {
        Self { service, interceptor: Arc::new(interceptor) }
    }
}

impl<S: Service> Service for Intercepted<S> {
    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn methods(&self) -> &'static [&'static str] {
        self.service.methods()
    }

    fn descriptors(&self) -> &'static [u8] {
        self.service.descriptors()
    }

    fn interceptors(&self) -> Vec<Arc<dyn Interceptor<IncomingCall>>> {
        let mut interceptors = self.service.interceptors();
        interceptors.push(self.interceptor.clone());
        interceptors
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        self.service.call(method, exchange)
    }

    fn shutting_down(&self) {
        self.service.shutting_down();
    }
}

impl<S: fmt::Debug> fmt::Debug for Intercepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepted").field("service", &self.service).finish_non_exhaustive()
    }
}
