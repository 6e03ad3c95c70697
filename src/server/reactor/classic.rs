//! How a reactor serves clients of the classic protocol, which are never active: the epoll tells of them.

use crate::os::{Event, Interest};
use crate::server::classic::{ClassicConnection, Fate};
use crate::server::reactor::{Place, Reactor, token};

impl Reactor {
    /// A handshake has turned out to be classic.
    pub(super) fn establish_classic(&mut self, index: usize, mut connection: Box<ClassicConnection>) {
        self.handshakes.retain(|&each| each != index);
        let watched = self.poller.add(connection.bell(), token(index) + 1, Interest::Edge);
        if let Err(error) = &watched {
            tracing::warn!(%error, "a classic client cannot be watched");
        }
        let fate = if watched.is_ok() { connection.proceed(&self.shared) } else { Fate::Over };
        self.places[index] = Some(Place::Classic(connection));
        self.settle_classic(index, fate);
    }

    pub(super) fn on_classic(&mut self, index: usize, is_bell: bool, event: Event) {
        if let Some(Some(Place::Classic(connection))) = self.places.get_mut(index) {
            let fate = connection.on_event(event, is_bell, &self.shared);
            self.settle_classic(index, fate);
        }
    }

    fn settle_classic(&mut self, index: usize, fate: Fate) {
        if fate == Fate::Open
            && let Some(Some(Place::Classic(connection))) = self.places.get_mut(index)
            && let Err(error) = connection.watch_room(&self.poller, token(index))
        {
            tracing::warn!(%error, "a classic client cannot be watched");
            return self.settle_classic(index, Fate::Over);
        }
        if fate == Fate::Over
            && let Some(Place::Classic(connection)) = self.remove(index)
        {
            // By hand: a handler may keep both descriptors for a while.
            let _ = self.poller.remove(connection.bell());
            let _ = self.poller.remove(connection.socket());
        }
    }

    /// Whether no classic client waits for anything.
    pub(super) fn is_classic_drained(&self) -> bool {
        self.places.iter().flatten().all(|place| match place {
            Place::Classic(connection) => connection.is_drained(),
            _ => true,
        })
    }
}
