//! Messages that are decoded while they are written: they arrive as others do, and a writer that falls
//! behind, lies or goes away in the middle of one costs nobody else anything.

mod watch;

#[path = "following/client.rs"]
mod client;
// Calls that are watched begin once, when their requests have come.
#[cfg(not(any(feature = "tracing", feature = "metrics")))]
#[path = "following/server.rs"]
mod server;
#[path = "following/whole.rs"]
mod whole;

use std::os::fd::AsFd;
use std::time::Duration;

use mmap_rpc::internals::peer::{FileSpec, Frame, Peer, RawEntry, Word};
use prost::Message;

/// Longer than a decoder waits for what comes next.
const TOO_LONG: Duration = Duration::from_millis(2);

/// The handle of the one slot of a segment of its own.
const SLOT: u32 = 256;

/// The text that is sent: longer than a window of its reader.
fn text(len: usize) -> String {
    (0..len).map(|at| char::from(b'a' + (at % 23) as u8)).collect()
}

/// A message that the peer writes, as far as a test wants it to.
struct Written {
    len: u64,
    /// What the level was before it.
    start: u64,
}

impl Written {
    /// Has the peer announce a message with these bytes, of which nothing is there yet. `entry` is the
    /// request or reply that brings it.
    fn announce(peer: &mut Peer, entry: RawEntry, message: &[u8]) -> Self {
        let segment = 2 << 20;
        let file = FileSpec { head: message.to_vec(), ..FileSpec::of(segment) }.make().unwrap();
        let (id, bytes, slot_size, slot_count, first_handle) = (1, segment, segment, 1, SLOT);
        let added = Frame::SegmentAdded { id, bytes, slot_size, slot_count, first_handle };
        peer.frame(&added, &[file.as_fd()]).unwrap();
        let (len, start) = (message.len() as u64, 0);
        peer.push(entry.slot(SLOT, 0, len).fill(0, start));
        Self { len, start }
    }

    /// The same with a text as its message, half of which is there at once.
    fn half_of(peer: &mut Peer, entry: RawEntry, text: &str) -> Self {
        peer.set(Word::Level(0), text.len() as u64 / 2);
        Self::text(peer, entry, text)
    }

    /// The same with nothing there yet.
    fn text(peer: &mut Peer, entry: RawEntry, text: &str) -> Self {
        Self::announce(peer, entry, &text.to_owned().encode_to_vec())
    }

    /// So many of its bytes are there.
    fn is_there(&self, peer: &Peer, bytes: u64) {
        peer.set(Word::Level(0), self.start + bytes);
        peer.ring();
    }

    /// Half of it is, and nothing more for too long.
    fn stalls(&self, peer: &Peer) {
        self.is_there(peer, self.len / 2);
        std::thread::sleep(TOO_LONG);
    }

    fn is_whole(&self, peer: &Peer) {
        self.is_there(peer, self.len);
    }
}
