//! How a reactor waits that has nothing to serve: it holds back, glances, spins, and sleeps.

use std::io;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use super::{Place, Reactor, token};
use crate::ring::{glance, spin_until};

impl Reactor {
    /// Looks at the active rings for a while; true if something came.
    pub(super) fn spin(&mut self) -> bool {
        self.spun = false;
        if self.spin.is_hot() {
            self.before_waiting();
            if self.watch(None) {
                self.spin.succeeded();
                return true;
            }
        }
        if mem::take(&mut self.woke) {
            // It may have to wait for this very processor. Not before the glance: a stream that comes fast is
            // handed on in large parts, because each change of threads costs as much as several messages.
            thread::yield_now();
            return true;
        }
        let Some((own_cpu, peer_cpu)) = self.exchange_cpus() else {
            return false;
        };
        if !self.spin.should_spin(own_cpu, peer_cpu) {
            return false;
        }
        self.spun = true;
        let came = self.watch(Some(self.spin.budget()));
        if came {
            self.spin.succeeded();
        }
        came
    }

    /// What there is time for before the first look, if a single client is active.
    #[inline]
    fn before_waiting(&mut self) {
        if let [index] = self.active[..]
            && let Some(Place::Open(connection)) = &mut self.places[index]
        {
            connection.before_waiting();
        }
    }

    /// Looks whether any active ring has an entry: so long, or for a glance.
    fn watch(&self, budget: Option<Duration>) -> bool {
        let rings = self.active.iter().filter_map(|&index| match &self.places[index] {
            Some(Place::Open(connection)) if !connection.is_congested() => Some(connection),
            _ => None,
        });
        let Some(first) = rings.clone().next() else {
            return false;
        };
        if self.active.len() == 1 {
            // The ordinary case, at full speed.
            let watch = first.watch();
            return look(budget, || watch.is_there());
        }
        look(budget, || rings.clone().any(|connection| connection.is_ready()))
    }

    /// Looks at all sockets for a while, if the last request came over one; true if something came.
    fn spin_on_sockets(&mut self) -> io::Result<bool> {
        let Some(Some(Place::Open(connection))) = self.places.get_mut(self.recent) else {
            return Ok(false);
        };
        if !connection.is_socket_lane() {
            return Ok(false);
        }
        let (own_cpu, peer_cpu) = connection.exchange_cpu();
        if !self.spin.should_spin(own_cpu, peer_cpu) {
            return Ok(false);
        }
        self.spun = true;
        let start = Instant::now();
        while start.elapsed() < self.spin.budget() {
            self.poll(Some(Duration::ZERO))?;
            if !self.events.is_empty() {
                self.spin.succeeded();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells all active clients which processor serves them; returns that, and the processor of the client
    /// that was served last. `None` if nobody is active.
    fn exchange_cpus(&mut self) -> Option<(u32, u32)> {
        let mut cpus = None;
        for &index in &self.active {
            if let Some(Place::Open(connection)) = &mut self.places[index] {
                let exchanged = connection.exchange_cpu();
                if cpus.is_none() || index == self.recent {
                    cpus = Some(exchanged);
                }
            }
        }
        cpus
    }

    /// Arms everything and waits.
    pub(super) fn park(&mut self) -> io::Result<()> {
        let (places, poller) = (&mut self.places, &self.poller);
        self.active.retain(|&index| match &mut places[index] {
            Some(Place::Open(connection)) => !connection.arm(poller, token(index)),
            _ => unreachable!("active places are open connections"),
        });
        if !self.active.is_empty() {
            return Ok(());
        }
        if self.spin_on_sockets()? {
            return Ok(());
        }
        let parked = Instant::now();
        let timeout = self.next_deadline().map(|deadline| deadline.saturating_duration_since(parked));
        self.poll(timeout)?;
        if mem::take(&mut self.spun) {
            self.spin.failed_then_slept(parked.elapsed());
        }
        Ok(())
    }
}

/// A spin of this length, or a glance.
#[inline]
fn look(budget: Option<Duration>, ready: impl FnMut() -> bool) -> bool {
    match budget {
        Some(budget) => spin_until(budget, ready),
        None => glance(ready),
    }
}
