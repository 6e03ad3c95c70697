//! Where handlers run.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};

use crate::server::builder::Handlers;
use crate::server::exchange::Exchange;
use crate::server::router::Router;

/// Takes calls to their handlers.
pub(super) struct Dispatch {
    router: Arc<Router>,
    /// `None` if handlers run where the call came in.
    pool: Option<Sender<Exchange>>,
}

impl Dispatch {
    /// Starts the pool's threads, if there is a pool.
    pub(super) fn start(router: Arc<Router>, handlers: Handlers) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let Handlers::Pool(threads) = handlers else {
            return Ok((Self { router, pool: None }, Vec::new()));
        };
        // Unbounded, and yet bounded: each connection has at most `max_in_flight` calls in it.
        let (sender, receiver) = unbounded::<Exchange>();
        let workers = (0..threads.max(1)).map(|number| {
            let (router, receiver) = (router.clone(), receiver.clone());
            let work = move || receiver.iter().for_each(|exchange| router.call(exchange));
            thread::Builder::new().name(format!("mmap-rpc-pool-{number}")).spawn(work)
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok((Self { router, pool: Some(sender) }, workers))
    }

    /// Runs the handler, or has a thread of the pool run it.
    #[inline]
    pub(super) fn call(&self, exchange: Exchange) {
        match &self.pool {
            None => self.router.call(exchange),
            // The receivers live as long as the threads, which end when this sender is dropped.
            Some(pool) => {
                pool.send(exchange).unwrap_or_else(|refused| self.router.call(refused.into_inner()))
            }
        }
    }
}
