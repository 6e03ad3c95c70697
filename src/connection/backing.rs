//! Both regions in one named file, for peers that cannot receive descriptors.
//!
//! ```text
//!   offset  0          8        16                    24      32                    40      48     4096
//!           "mmapfile" version  client region: offset length  server region: offset length  zero   regions
//! ```
//!
//! Little-endian; the version takes four bytes and four zeros follow it. Each region is as elsewhere, its
//! header first, and does not grow.
//!
//! The peer, and whoever else of its user opens the file, may write and truncate all of it, and a mapping
//! behind the end of a file raises SIGBUS. So this side maps nothing of it. It keeps two mirrors in private
//! memory, one of each region, where its slots, bits and words are as always, and copies at the moments that
//! matter:
//!
//! | what | copied | when |
//! |---|---|---|
//! | a message of ours | to the file | before the frame that names it |
//! | a message of the peer's | from the file, once, to private memory | when its frame is handled; its slot goes back at once |
//! | our return words | to the file | after each return |
//! | the peer's return words | from the file | before a harvest |
//! | our `want_space` | to the file | when it changes |
//! | the peer's `want_space` | from the file | after each return |
//!
//! What a claim trusts is thus private, and a peer that lies in its words is found out as elsewhere. What
//! nothing here can promise is that a message is read as it was written: others may write it too.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::connection::close::CloseReason;
use crate::connection::handshake::HandshakeError;
use crate::connection::link::{Link, PeerBase};
use crate::connection::received::ReceivedSlot;
use crate::connection::region::OwnRegion;
use crate::connection::send::SendFailure;
use crate::error::Violation;
use crate::layout::words::{CONTROL_LINE, HANDLE_WORDS};
use crate::layout::{Geometry, HEADER_BYTES, Handle, Header, PAGE};
use crate::os::{FileStore, LONGEST_FILE, Mapping, NamedFile, SharedFile};
use crate::rpc::{Letter, Private, Status, read_message};
use crate::slab;
use crate::sync::{Ordering, fence};
use crate::wire::Limits;

const MAGIC: [u8; 8] = *b"mmapfile";
const VERSION: u32 = 1;

/// Where `want_space` lies in the control section.
const WANT_SPACE: u64 = 3 * CONTROL_LINE as u64;

/// Size and number of a file's smaller slots; one class more holds the largest messages.
const CLASSES: [(u64, u32); 4] = [(256, 64), (4 << 10, 64), (64 << 10, 16), (1 << 20, 4)];

/// The file of a connection, and the moments at which it is looked at.
pub(crate) struct FileBacking {
    file: Held,
    /// Where our region starts in the file.
    own_at: u64,
    /// Where the peer's does.
    peer_at: u64,
    /// Held while return words go to or come from the file: what is written last is what was flipped last,
    /// and nobody reads words that are older than those read before.
    returns: Mutex<()>,
}

/// The file, as the side that made it holds it, and as the other one does.
enum Held {
    /// Removed with the connection.
    Made(NamedFile),
    Opened(SharedFile),
}

impl Deref for Held {
    type Target = SharedFile;

    fn deref(&self) -> &SharedFile {
        match self {
            Self::Made(file) => file.shared(),
            Self::Opened(file) => file,
        }
    }
}

/// Where one region lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
}

/// What a region holds beside its slots, at most.
const OVERHEAD: u64 = 32 << 10;

/// How a region of a file is laid out if messages may be as long as that, and a region as large.
///
/// The file is sparse: what no message has touched takes no memory.
fn geometry(limits: Limits) -> Geometry {
    let region = limits.max_region_bytes.min((LONGEST_FILE - PAGE) / 2);
    let mut room = region.saturating_sub(OVERHEAD);
    let mut classes = Vec::new();
    for (size, count) in CLASSES {
        let bytes = size * u64::from(count);
        // Most of what there is is for the largest messages.
        if bytes <= room / 4 {
            classes.push((size, count));
            room -= bytes;
        }
    }
    let largest = limits.max_message_size.min(room & !(PAGE - 1)).next_multiple_of(PAGE);
    if classes.last().is_none_or(|&(size, _)| size < largest) {
        let count = if largest <= room / 2 { 2 } else { 1 };
        classes.push((largest, count));
    }
    // Nobody uses the ring.
    Geometry::plan(2, &classes).expect("these classes can be laid out")
}

impl FileBacking {
    /// A server's: makes the file, with the headers of both regions.
    pub(super) fn create(files: &FileStore, limits: Limits) -> io::Result<(Self, OwnRegion, PeerBase)> {
        let geometry = geometry(limits);
        let length = geometry.total_len;
        let client = Place { offset: PAGE, length };
        let server = Place { offset: PAGE + length, length };
        let (_, file) = files.make(server.offset + server.length)?;
        let file = Held::Made(file);
        file.write_at(&head(client, server), 0)?;
        let header = Header::encode(&geometry, 0);
        for place in [client, server] {
            file.write_at(&header, place.offset)?;
        }
        let (own, peer) = mirrors(geometry.clone(), geometry)?;
        Ok((Self::new(file, server, client), own, peer))
    }

    /// A client's: opens the file that the server has named.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<(Self, OwnRegion, PeerBase), HandshakeError> {
        let file = SharedFile::open(path).map_err(|error| Violation::Segment(error.to_string()))?;
        let file = Held::Opened(file);
        let malformed = |check: String| Violation::Segment(format!("{}: {check}", path.display()));
        let page = |at| read_array::<HEADER_BYTES>(&file, at).map_err(|error| malformed(error.to_string()));
        let (client, server) = read_head(&page(0)?).map_err(malformed)?;
        let mut geometries = Vec::new();
        for place in [client, server] {
            if !place.is_inside(file.len()) {
                return Err(malformed(format!("a region lies outside of the {} bytes", file.len())).into());
            }
            if place.length > limits.max_region_bytes {
                let cap = limits.max_region_bytes;
                let check =
                    format!("{path:?} has a region of {} bytes, max_region_bytes is {cap}", place.length);
                return Err(Violation::Limit(check).into());
            }
            let header = Header::validate(&page(place.offset)?, place.length);
            geometries.push(header.map_err(|error| malformed(format!("header: {error}")))?.geometry);
        }
        if client.offset < server.end() && server.offset < client.end() {
            return Err(malformed("the regions overlap".into()).into());
        }
        let [own, peer] = <[Geometry; 2]>::try_from(geometries).expect("one for each place");
        let (own, peer) = mirrors(own, peer)?;
        Ok((Self::new(file, client, server), own, peer))
    }

    fn new(file: Held, own: Place, peer: Place) -> Self {
        Self { file, own_at: own.offset, peer_at: peer.offset, returns: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    // ---- messages ------------------------------------------------------------------------------------

    /// Writes a message of ours where the peer will look for it.
    pub(super) fn publish(&self, offset: u64, message: &[u8]) -> Result<(), SendFailure> {
        self.file.write_at(message, self.own_at + offset).map_err(|error| {
            let path = self.path().display();
            let status =
                format!("a message cannot be written to {path}: {error}; is there room on its disk?");
            SendFailure::Failed(Status::resource_exhausted(status))
        })
    }

    /// Copies a message of the peer's; its slot goes back.
    pub(super) fn fetch(
        &self,
        slot: ReceivedSlot,
        offset: u64,
        letter: Letter,
    ) -> Result<Option<Private>, Violation> {
        read_message(&self.file, self.peer_at + offset, slot.len(), letter).map_err(Violation::Segment)
    }

    // ---- returns -------------------------------------------------------------------------------------

    /// Returns a slot of the peer's.
    pub(super) fn give_back(&self, link: &Link, handle: Handle) {
        let _order = self.lock();
        let ret = link.own.view().ret();
        slab::give_back(ret, handle);
        // Relaxed: flipped under the lock, by this thread or before it.
        let word = ret[handle.word()].load(Ordering::Relaxed);
        let at = link.own.geometry().ret_offset + handle.word() as u64 * 8;
        self.write_word(link, &word.to_le_bytes(), at);
    }

    /// Copies the peer's return words.
    pub(super) fn refresh_returns(&self, link: &Link) -> Result<(), Violation> {
        const WORD: usize = size_of::<u64>();
        let _order = self.lock();
        let peer = link.peer_base();
        let bytes =
            read_array::<{ HANDLE_WORDS * WORD }>(&self.file, self.peer_at + peer.geometry.ret_offset);
        let bytes = bytes.map_err(|error| self.broken(&error))?;
        for (word, bytes) in peer.view().ret().iter().zip(bytes.chunks_exact(WORD)) {
            let value = u64::from_le_bytes(bytes.try_into().expect("chunks of a word"));
            // Relaxed: a harvest follows, by this thread, or by one that holds its lock meanwhile and for
            // whom older words do as well.
            word.store(value, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells the peer whether this side waits for space. The caller's fence follows.
    pub(super) fn publish_want_space(&self, link: &Link) {
        let epoch = link.own_control().want_space.0.load(Ordering::Relaxed);
        let at = link.own.geometry().control_offset + WANT_SPACE;
        self.write_word(link, &epoch.to_le_bytes(), at);
    }

    /// Copies what the peer says of that.
    pub(super) fn refresh_want_space(&self, link: &Link) {
        // The return that was just written comes first.
        fence(Ordering::SeqCst);
        let peer = link.peer_base();
        let at = self.peer_at + peer.geometry.control_offset + WANT_SPACE;
        match read_array(&self.file, at) {
            // Relaxed: compared with epochs of before, and nothing else.
            Ok(epoch) => {
                peer.view().control().want_space.0.store(u32::from_le_bytes(epoch), Ordering::Relaxed)
            }
            Err(error) => drop(link.violated(self.broken(&error))),
        }
    }

    fn write_word(&self, link: &Link, bytes: &[u8], at: u64) {
        if let Err(error) = self.file.write_at(bytes, self.own_at + at) {
            link.close(CloseReason::Os(format!("{}: {error}", self.path().display())));
        }
    }

    fn broken(&self, error: &io::Error) -> Violation {
        Violation::Segment(format!("{}: {error}", self.path().display()))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards an order, not data.
        self.returns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    fn is_inside(self, file: u64) -> bool {
        let whole_pages = self.offset.is_multiple_of(PAGE) && self.length.is_multiple_of(PAGE);
        whole_pages && self.offset >= PAGE && self.length >= PAGE && self.end() <= file
    }
}

/// Private memory for both regions.
fn mirrors(own: Geometry, peer: Geometry) -> io::Result<(OwnRegion, PeerBase)> {
    let mapping = Mapping::private(peer.total_len as usize)?;
    Ok((OwnRegion::mirrored(own)?, PeerBase { mapping, geometry: peer }))
}

fn head(client: Place, server: Place) -> [u8; HEADER_BYTES] {
    let mut page = [0; HEADER_BYTES];
    page[..8].copy_from_slice(&MAGIC);
    page[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let numbers = [client.offset, client.length, server.offset, server.length];
    for (field, number) in page[16..].chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    page
}

/// Where the client's and the server's region are, as a file says.
fn read_head(page: &[u8; HEADER_BYTES]) -> Result<(Place, Place), String> {
    let number = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"));
    if page[..8] != MAGIC {
        return Err(format!("starts with {:?}, not with {:?}", &page[..8], MAGIC));
    }
    let version = number(8);
    if version != u64::from(VERSION) {
        return Err(format!("has version {version}, this side knows {VERSION}; update the older side"));
    }
    if page[48..].iter().any(|&byte| byte != 0) {
        return Err("unused bytes of its header are not zero".into());
    }
    let place = |at| Place { offset: number(at), length: number(at + 8) };
    Ok((place(16), place(32)))
}

fn read_array<const N: usize>(file: &SharedFile, at: u64) -> io::Result<[u8; N]> {
    let mut room = [MaybeUninit::uninit(); N];
    let read = file.read_at(&mut room, at)?;
    <[u8; N]>::try_from(&*read).map_err(|_| truncated())
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has been truncated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_message_size: u64, max_region_bytes: u64) -> Limits {
        Limits {
            max_message_size,
            max_region_bytes,
            max_in_flight: 1,
            max_metadata_size: 0,
            stream_window: 0,
        }
    }

    #[test]
    fn a_region_holds_the_largest_messages_that_fit_and_no_more_than_its_cap() {
        let largest = |limits| {
            let geometry = geometry(limits);
            assert!(geometry.total_len <= limits.max_region_bytes, "{geometry:?}");
            geometry.classes.last().map(|class| (class.slot_size, class.slot_count)).unwrap()
        };
        assert_eq!(largest(limits(64 << 20, 256 << 20)), (64 << 20, 2));
        assert_eq!(largest(limits((8 << 20) + 1, 256 << 20)), ((8 << 20) + PAGE, 2));
        assert_eq!(largest(limits(1 << 20, 256 << 20)), (1 << 20, 4));
        assert_eq!(largest(limits(1, 256 << 20)), (1 << 20, 4));
        assert_eq!(largest(limits(64 << 20, 4 << 20)), ((4 << 20) - (304 << 10), 1));
        assert_eq!(largest(limits(64 << 20, 64 << 10)), (32 << 10, 1));
        assert_eq!(largest(limits(9000, 64 << 10)), (12 << 10, 2));
        assert!(largest(limits(u64::MAX, u64::MAX)).0 < LONGEST_FILE / 2);
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_nothing_else_is() {
        let (client, server) = (Place { offset: 4096, length: 8192 }, Place { offset: 12288, length: 4096 });
        let good = head(client, server);
        assert_eq!(read_head(&good), Ok((client, server)));
        for (at, says) in
            [(0, "starts with"), (8, "version"), (12, "version"), (48, "unused"), (4095, "unused")]
        {
            let mut bad = good;
            bad[at] ^= 2;
            let error = read_head(&bad).unwrap_err();
            assert!(error.contains(says), "{at}: {error}");
        }
    }

    #[test]
    fn a_place_is_whole_pages_behind_the_head_and_inside_of_the_file() {
        let inside = |offset, length| Place { offset, length }.is_inside(1 << 20);
        assert!(inside(4096, 4096) && inside(4096, (1 << 20) - 4096));
        for (offset, length) in
            [(0, 4096), (4096, 0), (4096, 100), (5000, 4096), (4096, 1 << 20), (u64::MAX - 4095, 4096)]
        {
            assert!(!inside(offset, length), "{offset} {length}");
        }
    }
}
