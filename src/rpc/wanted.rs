//! Whether a call is still wanted: asked by its handler, answered by the connection that it came on.
//!
//! A [`Request`](crate::Request) may outlive its call and its connection, and most are never asked. So it
//! holds numbers only, which cost nothing to make, and the connection is looked up when somebody asks.
//! Connections that serve calls are listed here by their number, and take themselves off when they go.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

/// Who knows the calls of one connection.
pub(crate) trait Callers: Send + Sync {
    /// Whether somebody waits for the answer to this call.
    fn awaits(&self, call_id: u32) -> bool;
}

type Listed = HashMap<NonZeroU64, Weak<dyn Callers>>;

/// Parts of the list, lest handlers of many connections wait for each other.
const PARTS: usize = 16;

static LIST: [RwLock<Option<Listed>>; PARTS] = [const { RwLock::new(None) }; PARTS];

fn part(number: NonZeroU64) -> &'static RwLock<Option<Listed>> {
    &LIST[(number.get() % PARTS as u64) as usize]
}

// Nothing that holds a lock panics half way.

fn read(number: NonZeroU64) -> RwLockReadGuard<'static, Option<Listed>> {
    part(number).read().unwrap_or_else(PoisonError::into_inner)
}

fn write(number: NonZeroU64) -> RwLockWriteGuard<'static, Option<Listed>> {
    part(number).write().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place in the list, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listing(NonZeroU64);

impl Listing {
    /// Lists a connection, which may be still under construction.
    pub(crate) fn new(callers: Weak<dyn Callers>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: a number of its own, and nothing else.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = NonZeroU64::new(number).expect("no process has so many connections");
        write(number).get_or_insert_default().insert(number, callers);
        Self(number)
    }

    /// A call that came in on it.
    #[inline(always)]
    pub(crate) fn call(&self, call_id: u32) -> Wanted {
        Wanted { connection: self.0, call_id }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let Some(listed) = &mut *write(self.0) {
            listed.remove(&self.0);
        }
    }
}

/// A call on its way through a handler, as its request knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    connection: NonZeroU64,
    call_id: u32,
}

impl Wanted {
    /// Whether somebody waits for the answer.
    pub(crate) fn is_wanted(self) -> bool {
        let listed = read(self.connection);
        let callers = listed.as_ref().and_then(|listed| listed.get(&self.connection)).and_then(Weak::upgrade);
        // First: what is dropped here may be the last of its connection, which takes itself off the list.
        drop(listed);
        callers.is_some_and(|callers| callers.awaits(self.call_id))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Awaits the calls with even ids.
    struct Even(Listing);

    impl Callers for Even {
        fn awaits(&self, call_id: u32) -> bool {
            call_id.is_multiple_of(2)
        }
    }

    fn even() -> Arc<Even> {
        Arc::new_cyclic(|weak: &Weak<Even>| Even(Listing::new(weak.clone())))
    }

    #[test]
    fn a_call_is_wanted_while_its_connection_says_so() {
        let (first, second) = (even(), even());
        let (even, odd) = (first.0.call(2), first.0.call(3));
        assert!(even.is_wanted() && !odd.is_wanted());
        assert_ne!(first.0.0, second.0.0);
        drop(first);
        assert!(!even.is_wanted() && second.0.call(0).is_wanted());
    }

    #[test]
    fn a_connection_that_goes_leaves_nothing_in_the_list() {
        let connection = even();
        let number = connection.0.0;
        let is_listed = || read(number).as_ref().is_some_and(|listed| listed.contains_key(&number));
        assert!(is_listed());
        drop(connection);
        assert!(!is_listed());
    }
}
