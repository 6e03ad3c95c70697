//! Messages that are read while the peer writes them: each is copied as far as it has come, and is an event
//! once it is whole.

use crate::connection::coming::{Coming, Progress};
use crate::error::Violation;
use crate::ring::Entry;
use crate::rpc::Private;

/// Messages that are followed at one time. An honest peer writes fewer; whoever has more under way waits for
/// the first ones.
const MAX_ARRIVALS: usize = 16;

/// The messages that are under way, each with the entry that announced it.
#[derive(Default)]
pub(super) struct Arrivals {
    list: Vec<(Entry, Coming)>,
}

/// What a look at the messages under way came to.
pub(super) enum Advance {
    /// A message is whole: the entry that announced it, and microseconds since.
    Whole(Entry, Private, u32),
    /// So many bytes more, of a message that is not whole yet, or will never be.
    Part(usize),
}

impl Arrivals {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_ARRIVALS
    }

    /// Whether [`advance`](Self::advance) would find something.
    pub(super) fn has_more(&self) -> bool {
        self.list.iter().any(|(_, coming)| coming.has_more())
    }

    /// Follows another message.
    #[cold]
    pub(super) fn add(&mut self, entry: Entry, coming: Coming) {
        self.list.push((entry, coming));
    }

    /// Copies what has come of one message. `None` if nothing has.
    ///
    /// # Errors
    /// If a level is not one that an honest peer could have stored.
    #[cold]
    pub(super) fn advance(&mut self) -> Result<Option<Advance>, Violation> {
        let Some(at) = self.list.iter().position(|(_, coming)| coming.has_more()) else {
            return Ok(None);
        };
        Ok(Some(match self.list[at].1.advance()? {
            Progress::Bytes(bytes) => Advance::Part(bytes),
            Progress::GivenUp => {
                self.list.swap_remove(at);
                Advance::Part(0)
            }
            Progress::Whole => {
                let (entry, coming) = self.list.swap_remove(at);
                let (message, elapsed) = coming.into_private();
                Advance::Whole(entry, message, elapsed)
            }
        }))
    }
}
