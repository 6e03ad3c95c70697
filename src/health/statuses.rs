//! What the health service tells, and who waits to be told.
//!
//! A watch keeps what it told last, and looks for what is true when its client takes more: so a slow client
//! hears of the latest status, and nothing queues up for it. Until there is something new it leaves its waker
//! here, with the name that it asks for.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{HealthCheckResponse, ServingStatus, answer};
use crate::rpc::Status;

/// Statuses of services by their names. The server as a whole has none.
pub(super) struct Statuses(Mutex<Inner>);

struct Inner {
    by_name: BTreeMap<String, ServingStatus>,
    /// Nothing serves any more.
    drained: bool,
    /// The server goes, and no watch outlives it.
    closed: bool,
    watchers: HashMap<u64, Watcher>,
    /// The number of the next watch.
    next: u64,
}

/// A watch that has told what there is.
struct Watcher {
    service: Arc<str>,
    waker: Waker,
}

impl Statuses {
    /// The server as a whole is serving.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            by_name: [(String::new(), ServingStatus::Serving)].into(),
            drained: false,
            closed: false,
            watchers: HashMap::new(),
            next: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nobody panics with a change half made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, service: &str) -> Option<ServingStatus> {
        self.lock().by_name.get(service).copied()
    }

    /// All that are set.
    pub(super) fn all(&self) -> BTreeMap<String, ServingStatus> {
        self.lock().by_name.clone()
    }

    /// All that are set, or how many, if that is more than `most`.
    pub(super) fn list(&self, most: usize) -> Result<BTreeMap<String, ServingStatus>, usize> {
        let inner = self.lock();
        if inner.by_name.len() > most { Err(inner.by_name.len()) } else { Ok(inner.by_name.clone()) }
    }

    pub(super) fn set(&self, service: String, status: ServingStatus) {
        self.change(Some(&service.clone()), |inner| {
            let status = if inner.drained { ServingStatus::NotServing } else { status };
            inner.by_name.insert(service, status);
        });
    }

    pub(super) fn clear(&self, service: &str) {
        self.change(Some(service), |inner| {
            inner.by_name.remove(service);
        });
    }

    /// Nothing serves from here on.
    pub(super) fn drain(&self) {
        self.change(None, |inner| {
            inner.drained = true;
            inner.by_name.values_mut().for_each(|status| *status = ServingStatus::NotServing);
        });
    }

    /// Ends every watch.
    pub(super) fn close(&self) {
        self.change(None, |inner| inner.closed = true);
    }

    /// Makes a change, and wakes those who watch the service, or all.
    fn change(&self, service: Option<&str>, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        let concerned = |watcher: &Watcher| service.is_none_or(|service| *watcher.service == *service);
        let woken: Vec<_> = inner.watchers.extract_if(|_, watcher| concerned(watcher)).collect();
        // A waker runs what it likes, so not under the lock.
        drop(inner);
        woken.into_iter().for_each(|(_, watcher)| watcher.waker.wake());
    }

    /// The status of a service, now and whenever it changes.
    pub(super) fn watch(self: &Arc<Self>, service: String) -> Watch {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        drop(inner);
        Watch { statuses: self.clone(), service: service.into(), number, told: None }
    }

    /// How many watches have told what there is, and wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().watchers.len()
    }
}

/// What one client watches. It has no end of its own.
pub(super) struct Watch {
    statuses: Arc<Statuses>,
    service: Arc<str>,
    number: u64,
    told: Option<ServingStatus>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut inner = this.statuses.lock();
        if inner.closed {
            return Poll::Ready(Some(Err(Status::unavailable("the server is shutting down"))));
        }
        let status = inner.by_name.get(&*this.service).copied();
        let status = status.unwrap_or(ServingStatus::ServiceUnknown);
        if this.told != Some(status) {
            this.told = Some(status);
            return Poll::Ready(Some(Ok(answer(status))));
        }
        let watcher = Watcher { service: this.service.clone(), waker: cx.waker().clone() };
        let before = inner.watchers.insert(this.number, watcher);
        // Its waker may run what it likes when it is dropped, so not under the lock.
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let left = self.statuses.lock().watchers.remove(&self.number);
        // As above.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A watch, and how often it was woken.
    struct Client(Watch, Arc<Woken>);

    impl Client {
        fn new(statuses: &Arc<Statuses>, service: &str) -> Self {
            Self(statuses.watch(service.into()), Arc::default())
        }

        /// What it is told, if anything; an error is `None` within.
        fn told(&mut self) -> Option<Option<ServingStatus>> {
            let waker = Waker::from(self.1.clone());
            match Pin::new(&mut self.0).poll_next(&mut Context::from_waker(&waker)) {
                Poll::Pending => None,
                Poll::Ready(item) => Some(item.expect("no end").ok().map(|response| response.status())),
            }
        }

        fn woken(&self) -> usize {
            self.1.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_watch_tells_the_latest_and_nothing_twice() {
        let statuses = Arc::new(Statuses::new());
        let mut client = Client::new(&statuses, "a.B");
        assert_eq!(client.told(), Some(Some(ServingStatus::ServiceUnknown)));
        assert_eq!((client.told(), statuses.waiting()), (None, 1));
        for status in [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::Serving] {
            statuses.set("a.B".into(), status);
        }
        assert_eq!((client.woken(), statuses.waiting()), (1, 0), "once, however often it changes");
        assert_eq!(client.told(), Some(Some(ServingStatus::Serving)));
        assert_eq!(client.told(), None);
        statuses.set("a.B".into(), ServingStatus::Serving);
        assert_eq!(client.told(), None, "nothing has changed");
        statuses.clear("a.B");
        assert_eq!(client.told(), Some(Some(ServingStatus::ServiceUnknown)));
    }

    #[test]
    fn a_change_wakes_those_who_watch_its_service() {
        let statuses = Arc::new(Statuses::new());
        let mut clients = ["", "a.B", "a.B", "c.D"].map(|service| Client::new(&statuses, service));
        for client in &mut clients {
            client.told().expect("the status of now");
            assert_eq!(client.told(), None);
            assert_eq!(client.told(), None, "asked again, it waits once");
        }
        assert_eq!(statuses.waiting(), 4);
        statuses.set("a.B".into(), ServingStatus::Serving);
        assert_eq!(clients.each_ref().map(Client::woken), [0, 1, 1, 0]);
        statuses.drain();
        assert_eq!(clients.each_ref().map(Client::woken), [1, 1, 1, 1]);
        assert_eq!(clients[0].told(), Some(Some(ServingStatus::NotServing)));
        assert_eq!(clients[3].told(), None, "nothing is known of it, serving or not");
    }

    #[test]
    fn a_watch_leaves_nothing_behind() {
        let statuses = Arc::new(Statuses::new());
        let (mut stays, mut goes) = (Client::new(&statuses, ""), Client::new(&statuses, ""));
        for client in [&mut stays, &mut goes] {
            client.told().expect("the status of now");
            assert_eq!(client.told(), None);
        }
        drop(goes);
        assert_eq!(statuses.waiting(), 1);
        statuses.close();
        assert_eq!((stays.woken(), stays.told()), (1, Some(None)));
        assert_eq!(Client::new(&statuses, "").told(), Some(None), "closed from the start");
    }

    /// As an executor does whose tasks are what their wakers hold.
    #[test]
    fn a_waker_that_drops_a_watch_is_not_dropped_under_the_lock() {
        struct Owner(Mutex<Option<Watch>>);
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {
                self.0.lock().unwrap().take();
            }
        }
        let statuses = Arc::new(Statuses::new());
        let mut client = Client::new(&statuses, "");
        client.told().expect("the status of now");
        let waker = Waker::from(Arc::new(Owner(Mutex::new(Some(statuses.watch(String::new()))))));
        assert!(Pin::new(&mut client.0).poll_next(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        // The last owner goes with the waker that is replaced, and a watch with it.
        assert_eq!(client.told(), None);
        drop(client);
        assert_eq!(statuses.waiting(), 0);
    }
}
