//! The doorbells of one connection, and which of them may be rung.
//!
//! Whoever holds an eventfd can have it block: its flags and its counter are one for all holders. A peer of
//! our own user could harm us in simpler ways. One of another user must not: what it holds we wait on, and
//! never write to. It is woken by the empty frame on the socket, and this side's driver by a bell that no
//! peer has seen.

use std::io;

use crate::connection::link::Link;
use crate::os::{Credentials, Doorbell, Interest, Poller, effective_uid};

/// What wakes either side's driver.
pub(super) struct Bells {
    /// What this side waits on, and the peer rings.
    own: Doorbell,
    /// What the peer waits on; `None` if it is woken by the empty frame on the socket.
    peer: Option<Doorbell>,
    /// What this side waits on too, and rings itself; `None` if `own` will do.
    inner: Option<Doorbell>,
}

impl Bells {
    /// Of the bells that a handshake has agreed on, with this peer.
    pub(super) fn new(own: Doorbell, peer: Option<Doorbell>, who: Credentials) -> io::Result<Self> {
        if who.uid == effective_uid() {
            return Ok(Self { own, peer, inner: None });
        }
        Ok(Self { own, peer: None, inner: Some(Doorbell::new()?) })
    }

    /// Rings at the peer; false if it has no bell that may be rung.
    #[inline]
    #[must_use]
    pub(super) fn ring_peer(&self) -> bool {
        self.peer.as_ref().map(Doorbell::ring).is_some()
    }

    /// Rings at this side's own driver.
    pub(super) fn ring_own(&self) {
        self.inner.as_ref().unwrap_or(&self.own).ring();
    }

    fn watched(&self) -> impl Iterator<Item = &Doorbell> {
        [&self.own].into_iter().chain(&self.inner)
    }
}

impl Link {
    /// Has a driver's epoll tell, by this token, when this side is rung at.
    pub(crate) fn watch_bells(&self, poller: &Poller, token: u64) -> io::Result<()> {
        self.bells.watched().try_for_each(|bell| poller.add(bell, token, Interest::Edge))
    }

    /// Takes that back: a copy of the bell is with the peer, so that it outlives ours.
    pub(crate) fn unwatch_bells(&self, poller: &Poller) {
        self.bells.watched().for_each(|bell| drop(poller.remove(bell)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::own_credentials;

    fn count(bell: &Doorbell) -> u64 {
        let mut count = [0; 8];
        // A counter of zero is nothing to read.
        rustix::io::read(bell, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// How often each of two shared bells, the own one and the peer's, was rung.
    fn rung(who: Credentials) -> (bool, u64, u64) {
        let (own, peer) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
        let bells = Bells::new(own.try_clone().unwrap(), Some(peer.try_clone().unwrap()), who).unwrap();
        let peer_was_rung = bells.ring_peer();
        bells.ring_own();
        (peer_was_rung, count(&own), count(&peer))
    }

    #[test]
    fn a_bell_that_another_user_holds_is_never_rung() {
        let own = own_credentials();
        assert_eq!(rung(own), (true, 1, 1));
        assert_eq!(rung(Credentials { uid: own.uid ^ 1, ..own }), (false, 0, 0));
    }

    #[test]
    fn whoever_rings_at_us_is_heard_and_so_are_we_ourselves() {
        let own = own_credentials();
        for uid in [own.uid, own.uid ^ 1] {
            let bell = Doorbell::new().unwrap();
            let theirs = bell.try_clone().unwrap();
            let bells = Bells::new(bell, None, Credentials { uid, ..own }).unwrap();
            let (poller, mut events) = (Poller::new().unwrap(), Vec::new());
            bells.watched().for_each(|bell| poller.add(bell, 7, Interest::Edge).unwrap());
            for ring in [&|| theirs.ring() as _, &|| bells.ring_own()] as [&dyn Fn(); 2] {
                ring();
                poller.wait(&mut events, Some(std::time::Duration::from_secs(5))).unwrap();
                assert_eq!(events.iter().map(|event| event.token).collect::<Vec<_>>(), [7]);
            }
        }
    }
}
