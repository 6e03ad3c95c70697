//! The drivers of a channel: tasks that receive for all the tasks that wait for calls.
//!
//! ```text
//!   anybody waits? ─no─► pending, until a task waits
//!      │ yes
//!   take the lead ─held─► pending: its holder wakes us
//!      │
//!   step: hand out what came ──some, or still looking──► release, let the others run, again
//!      │ nothing: armed
//!   watch the poller ──ready──► step
//!      │ not ready
//!   rest: release, pending
//! ```
//!
//! Why not the waiting tasks themselves: one that is not polled, beside another branch of a `select!` for
//! instance, would have all others wait for it. Why one on each runtime: a runtime that is kept from running
//! keeps its driver from running.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::yield_now;

use crate::client::core::Core;
use crate::client::driver::{Step, Vigil};
use crate::client::lead::DRIVERS;
use crate::connection::Blocks;
use crate::os::{Poller, Readiness};
use crate::rpc::Status;
use crate::sync::{AtomicU64, Ordering};

/// No runtime: what a number is when it is made.
const NONE: u64 = 0;

/// Which runtimes have a driver.
pub(super) struct Drivers {
    core: Weak<Core>,
    /// What the channel sleeps in.
    poller: Arc<Poller>,
    runtimes: Blocks<AtomicU64>,
}

impl Drivers {
    pub(super) fn new(core: Weak<Core>, poller: Arc<Poller>) -> Self {
        Self { core, poller, runtimes: Blocks::new(DRIVERS) }
    }

    /// Makes sure that the current runtime has a driver, or that so many others have one.
    ///
    /// # Errors
    /// Outside of a runtime, and in one that ends.
    ///
    /// # Panics
    /// On a runtime that does no I/O.
    pub(super) fn ensure(&self) -> Result<(), Status> {
        let runtime = current_runtime()?;
        let id = number_of(&runtime);
        // Relaxed, here and below: a number that carries nothing; a driver that ends wakes all who wait.
        if self.runtimes.made().any(|seat| seat.load(Ordering::Relaxed) == id) {
            return Ok(());
        }
        for number in 0..DRIVERS {
            let seat = self.runtimes.make(number);
            if seat.compare_exchange(NONE, id, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return self.spawn(Seat { core: self.core.clone(), number }, &runtime);
            }
        }
        Ok(())
    }

    #[cold]
    fn spawn(&self, seat: Seat, runtime: &Handle) -> Result<(), Status> {
        let readiness = match Readiness::of(self.poller.clone()) {
            Ok(readiness) => readiness,
            // Two tasks of one runtime have looked before either had a seat. The runtime watches a poller
            // once: the other one has the driver, and this seat wakes, as it is dropped, who counts on it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.raw_os_error().is_some() => {
                let problem = format!("a call cannot be awaited: {error}; see ulimit -n");
                return Err(Status::resource_exhausted(problem));
            }
            Err(_) => return Err(the_runtime_ends()),
        };
        let core = seat.core.clone();
        let one_thread = matches!(runtime.runtime_flavor(), RuntimeFlavor::CurrentThread);
        if let Some(core) = core.upgrade() {
            core.looking.set_one_thread(one_thread);
        }
        let task = runtime.spawn(Task { readiness, rung: false, vigil: Vigil::None, one_thread, seat });
        // A runtime that ends drops at once what is spawned on it. Whoever waits on would be told so by the
        // seat, for ever.
        if task.is_finished() && core.upgrade().is_some_and(|core| !core.link.is_closed()) {
            return Err(the_runtime_ends());
        }
        Ok(())
    }
}

/// The runtime whose task polls a call.
pub(super) fn current_runtime() -> Result<Handle, Status> {
    Handle::try_current().map_err(|_| {
        Status::failed_precondition(
            "a call was awaited outside of a tokio runtime; await it inside of one, or use wait()",
        )
    })
}

#[cold]
fn the_runtime_ends() -> Status {
    Status::cancelled("the runtime that the call is awaited on is ending")
}

/// A runtime's own number: ids can be hashed, and are numbers.
fn number_of(runtime: &Handle) -> u64 {
    struct Number(u64);
    impl Hasher for Number {
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
        }
        fn write_u64(&mut self, number: u64) {
            self.0 ^= number;
        }
        fn finish(&self) -> u64 {
            self.0.max(NONE + 1)
        }
    }
    let mut number = Number(0);
    runtime.id().hash(&mut number);
    number.finish()
}

/// The right to be driver `number`; given up when it is dropped, with its runtime at the latest.
struct Seat {
    core: Weak<Core>,
    number: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.drivers.runtimes.make(self.number).store(NONE, Ordering::Relaxed);
            // Those who wait make sure of another driver.
            core.wake_all();
        }
    }
}

/// One driver.
struct Task {
    /// Says when the channel's poller has something. Dropped before the seat: a runtime watches it once.
    readiness: Readiness,
    /// It has said so, and nobody has looked.
    rung: bool,
    vigil: Vigil,
    /// Whether its runtime has only one.
    one_thread: bool,
    seat: Seat,
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(core) = this.seat.core.upgrade() else {
            return Poll::Ready(());
        };
        // Before the looks that follow: whoever changes what they see wakes us.
        core.lead.register_driver(this.seat.number, cx.waker());
        loop {
            this.rung |= this.readiness.poll(cx).is_ready();
            let Some(mut leader) = core.lead.try_lead_for_tasks() else {
                return Poll::Pending;
            };
            leader.wake_up(&core);
            if !core.lead.has_tasks() && !core.link.space.any() {
                this.vigil = Vigil::None;
                // Its release wakes us if one has come meanwhile.
                return Poll::Pending;
            }
            match leader.step(&core, mem::take(&mut this.rung), &mut this.vigil) {
                // Its release wakes us while anybody waits; first those run who have something to do, on this
                // thread or others.
                Step::Worked if !this.one_thread => return Poll::Pending,
                Step::Worked => {
                    leader.pause(this.seat.number);
                    go_on_later(cx);
                    return Poll::Pending;
                }
                Step::Closed => return Poll::Ready(()),
                Step::Asleep => {}
            }
            if this.readiness.poll(cx).is_pending() {
                leader.rest(this.seat.number);
                return Poll::Pending;
            }
            this.rung = true;
        }
    }
}

/// Has the task polled again after all others of its runtime that can run. To wake it would have a runtime
/// of one thread poll it many times before the tasks of a `LocalSet`, which are the runtime's last thought.
fn go_on_later(cx: &mut Context<'_>) {
    // It leaves the waker with the runtime, and has done with it.
    let _pending = pin!(yield_now()).poll(cx);
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drivers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As for the slower one of two tasks that await the first calls of a channel at once.
    #[test]
    fn a_runtime_that_watches_the_poller_has_a_driver() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let poller = Arc::new(Poller::new().unwrap());
        let drivers = Drivers::new(Weak::new(), poller.clone());
        let first = Readiness::of(poller).unwrap();
        drivers.ensure().unwrap();
        drop(first);
    }
}
