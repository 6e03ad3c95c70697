//! From a method's number to its handler.

use std::collections::HashSet;
use std::sync::Arc;

use crate::raw::{Payload, RawBody};
use crate::rpc::{Chain, IS_ON, IncomingCall, Interceptor, Record, Request, Side, Status, lasting};
use crate::server::descriptors::Descriptors;
use crate::server::exchange::{Exchange, Handled};
use crate::server::interception::Interception;
use crate::server::replier::Replier;

/// A service as a server sees it. Generated code implements it; to serve plain bytes use
/// [`ServerBuilder::raw`](crate::ServerBuilder::raw).
pub trait Service: Send + Sync + 'static {
    /// Full name of the service, `package.Service`.
    fn name(&self) -> &'static str;

    /// Full names of its methods, `/package.Service/Method`.
    fn methods(&self) -> &'static [&'static str];

    /// What describes the service: an encoded `google.protobuf.FileDescriptorSet`, imports included. Empty
    /// unless there is one.
    ///
    /// Whoever is connected can ask for it: see [`descriptors`](crate::descriptors).
    fn descriptors(&self) -> &'static [u8] {
        &[]
    }

    /// What looks at each call of the service before it is answered, after the interceptors of the whole
    /// server; none unless the service is [intercepted](crate::server::Intercepted).
    fn interceptors(&self) -> Vec<Arc<dyn Interceptor<IncomingCall>>> {
        Vec::new()
    }

    /// Answers a call of the method with that index in [`methods`](Self::methods).
    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled;

    /// Whether it does no harm if [`call`](Self::call) begins twice for one call. Then it is asked as soon as
    /// a long request begins to come, which is decoded while it comes; and again, for the same call, if the
    /// rest kept the server waiting. The handler itself runs once. True of generated services, which do
    /// nothing but to pass the call on.
    fn may_begin_anew(&self) -> bool {
        false
    }

    /// The server is [shut down](crate::server::ShutdownHandle::shutdown): it takes no further calls, and
    /// waits for those that run. Called once, on a thread of the server, which must not be held up; for
    /// streams that would not end by themselves.
    fn shutting_down(&self) {}
}

/// A handler of plain bytes.
pub(super) type RawHandler =
    Box<dyn Fn(Request<Payload>, &Replier<'_>) -> Result<RawBody<'static>, Status> + Send + Sync>;

/// A handler of one method's messages.
pub(super) type UnaryHandler = Box<dyn Fn(Exchange<'_>) -> Handled + Send + Sync>;

/// All methods of a server. A method's number on the wire is its index.
#[derive(Default)]
pub(super) struct Router {
    services: Vec<Box<dyn Service>>,
    unary: Vec<UnaryHandler>,
    raw: Vec<RawHandler>,
    names: Vec<String>,
    routes: Vec<Route>,
    interception: Option<Interception>,
    /// The names of which calls are recorded, if they are.
    lasting: Vec<&'static str>,
}

#[derive(Clone, Copy)]
enum Route {
    Service { service: usize, method: usize },
    Unary(usize),
    Raw(usize),
}

impl Router {
    pub(super) fn add_service(&mut self, service: impl Service) {
        let index = self.services.len();
        for (method, name) in service.methods().iter().enumerate() {
            self.add((*name).to_owned(), Route::Service { service: index, method });
        }
        self.services.push(Box::new(service));
    }

    /// Adds the service that tells what has been added so far, if there is anything to tell.
    pub(super) fn add_descriptors(&mut self) -> Result<(), String> {
        let services = self.services.iter().map(|service| (service.name(), service.descriptors()));
        match Descriptors::of(&self.names, services)? {
            // A server without methods is refused, which this must not hide.
            Some(descriptors) if !self.names.is_empty() => self.add_service(descriptors),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn add_unary(&mut self, name: String, handler: UnaryHandler) {
        self.add(name, Route::Unary(self.unary.len()));
        self.unary.push(handler);
    }

    pub(super) fn add_raw(&mut self, name: String, handler: RawHandler) {
        self.add(name, Route::Raw(self.raw.len()));
        self.raw.push(handler);
    }

    fn add(&mut self, name: String, route: Route) {
        self.names.push(name);
        self.routes.push(route);
    }

    /// Full names, in the order of their numbers.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of a method, if there is one of that name.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.names.iter().position(|known| known == name).map(|number| number as u32)
    }

    /// What is wrong with the set of methods, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.names.is_empty() {
            return Err("the server has no methods; add a service with service(), unary() or raw()".into());
        }
        let mut seen = HashSet::new();
        for name in &self.names {
            let well_formed = name.strip_prefix('/').and_then(|rest| rest.split_once('/')).is_some_and(
                |(service, method)| {
                    let all = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic());
                    all(service) && all(method) && !method.contains('/')
                },
            );
            if !well_formed {
                return Err(format!("method name {name:?} is not of the form \"/package.Service/Method\""));
            }
            if !seen.insert(name) {
                return Err(format!("method {name} was added twice"));
            }
        }
        Ok(())
    }

    /// All methods are there; their calls are looked at first.
    pub(super) fn intercept(&mut self, chain: Chain<IncomingCall>) {
        self.lasting = lasting(&self.names);
        let whole = |service: &dyn Service| {
            let own = service.interceptors().into_iter();
            own.fold(chain.clone(), |chain, interceptor| chain.with_shared(interceptor))
        };
        let services: Vec<_> = self.services.iter().map(|service| whole(&**service)).collect();
        let chains = self.routes.iter().map(|route| match route {
            Route::Service { service, .. } => services[*service].clone(),
            Route::Unary(_) | Route::Raw(_) => chain.clone(),
        });
        self.interception = Interception::new(&self.names, chains.collect());
    }

    /// Answers a call.
    #[inline(always)]
    pub(super) fn call(self: &Arc<Self>, mut exchange: Exchange<'_>) -> Handled {
        let name = if IS_ON { self.lasting.get(exchange.method()) } else { None };
        let _entered = name.map(|name| exchange.held().record(Record::begin(Side::Server, name)));
        match &self.interception {
            None => self.route(exchange),
            Some(interception) => interception.call(self, exchange),
        }
    }

    /// Whether the calls of a method can be served while their requests come: nothing looks at them before,
    /// and to begin one twice does no harm.
    pub(super) fn follows(&self, method: u32) -> bool {
        let harmless = match self.routes.get(method as usize) {
            Some(&Route::Service { service, .. }) => self.services[service].may_begin_anew(),
            Some(Route::Unary(_)) => true,
            Some(Route::Raw(_)) | None => false,
        };
        harmless && self.interception.is_none() && !IS_ON
    }

    /// Tells all services that the server is shut down.
    pub(super) fn shutting_down(&self) {
        self.services.iter().for_each(|service| service.shutting_down());
    }

    /// Answers a call that no interceptor has refused.
    #[inline(always)]
    pub(super) fn route(&self, exchange: Exchange<'_>) -> Handled {
        match self.routes.get(exchange.method()) {
            Some(&Route::Service { service, method }) => self.services[service].call(method, exchange),
            Some(&Route::Unary(index)) => self.unary[index](exchange),
            Some(&Route::Raw(index)) => exchange.raw(&self.raw[index]),
            None => exchange.unimplemented(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(names: &[&str]) -> Router {
        let mut router = Router::default();
        for name in names {
            router.add_raw((*name).to_owned(), Box::new(|_, _| Err(Status::internal(""))));
        }
        router
    }

    #[test]
    fn method_names_are_full_and_unique() {
        assert!(router(&["/a.B/C", "/a.B/D"]).check().is_ok());
        for bad in ["a.B/C", "/a.B", "/a.B/", "//C", "/a/b/c", "/a b/c", ""] {
            assert!(router(&[bad]).check().unwrap_err().contains("form"), "{bad}");
        }
        assert!(router(&["/a/b", "/a/b"]).check().unwrap_err().contains("twice"));
        assert!(router(&[]).check().unwrap_err().contains("no methods"));
    }
}
