//! What one end of a connection wants: limits, sizes, patience.

use std::sync::Arc;
use std::time::Duration;

use crate::layout::Geometry;
use crate::os::FileStore;
use crate::ring::SPIN_BUDGET;
use crate::wire::Limits;

/// The oldest and the newest version of the protocol that this build speaks.
pub(crate) const VERSIONS: (u32, u32) = (1, 1);

/// Feature bit: calls travel over the socket, see [`Lane::Socket`].
pub(crate) const SOCKET_LANE: u64 = 1;

/// Feature bit, beside [`SOCKET_LANE`]: the regions are in a file, see [`Backing::File`].
pub(crate) const FILE_BACKING: u64 = 2;

/// Feature bits that this build knows.
pub(crate) const KNOWN_FEATURES: u64 = SOCKET_LANE | FILE_BACKING;

/// How calls and replies reach the other side. Their messages lie in shared memory either way, and calls mean
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lane {
    /// Through rings in shared memory: no system call while both sides are busy.
    #[default]
    Ring,
    /// As frames on the Unix socket that say where each message lies, with the system calls and wake-ups that
    /// this takes. For tracing, and for other languages: the frames are those of `proto/mmap_rpc.proto`.
    Socket,
}

/// What the shared memory of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backing {
    /// Sealed memory without a name, passed as descriptors. Each side can write its own alone.
    #[default]
    Memfd,
    /// A file that the server makes and names, if
    /// [`ServerBuilder::file_backing`](crate::ServerBuilder::file_backing) allows it, for people who want to
    /// look at it; programs in other languages use it too. Calls travel on [`Lane::Socket`].
    ///
    /// This is a trusted mode: every process of the same user can change what either side reads. It costs a
    /// copy more in each direction.
    File,
}

/// So many calls in flight fit a call id's index: see [`call_index`].
pub(crate) const MAX_IN_FLIGHT: u32 = 1 << 16;

/// A call id's low half is the index of the call among those in flight; the high half tells its successors
/// apart.
#[inline]
pub(crate) fn call_index(call_id: u32) -> usize {
    (call_id & 0xffff) as usize
}

/// Settings of one end, before the handshake.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What this end sends and accepts at most; the smaller of both ends' values holds.
    pub(crate) limits: Limits,
    /// Longest time from the first byte to an established connection.
    pub(crate) handshake_timeout: Duration,
    /// How long to look for the next message before sleeping.
    pub(crate) spin: Duration,
    /// Sections and size classes of the base segment.
    pub(crate) geometry: Geometry,
    /// A client's choice.
    pub(crate) lane: Lane,
    /// A client's choice.
    pub(crate) backing: Backing,
    /// Users, besides our own, whose servers a client talks to.
    pub(crate) servers: Vec<u32>,
    /// Where a server makes files for clients that ask for them.
    pub(crate) files: Option<Arc<FileStore>>,
}

impl Config {
    /// What a client cannot do without.
    pub(super) fn required_features(&self) -> u64 {
        match (self.lane, self.backing) {
            (_, Backing::File) => SOCKET_LANE | FILE_BACKING,
            (Lane::Socket, Backing::Memfd) => SOCKET_LANE,
            (Lane::Ring, Backing::Memfd) => 0,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits {
                max_message_size: 64 << 20,
                max_region_bytes: 256 << 20,
                max_in_flight: 1024,
                max_metadata_size: 8 << 10,
                stream_window: 256 << 10,
            },
            handshake_timeout: Duration::from_secs(5),
            spin: SPIN_BUDGET,
            geometry: Geometry::standard(),
            lane: Lane::default(),
            backing: Backing::default(),
            servers: Vec::new(),
            files: None,
        }
    }
}

/// The limits that both sides agree on, as both builders have them set.
macro_rules! limit_setters {
    () => {
        /// Largest message in bytes, sent or received; 64 MiB unless set.
        pub fn max_message_size(mut self, bytes: u64) -> Self {
            self.config.limits.max_message_size = bytes.max(1);
            self
        }

        /// Most shared memory that each side of one connection may use, in bytes; 256 MiB unless set.
        ///
        /// A region starts at 64 KiB and grows on demand. It has to hold the largest messages that are on
        /// their way at one time.
        pub fn max_region_bytes(mut self, bytes: u64) -> Self {
            self.config.limits.max_region_bytes = bytes.max(self.config.geometry.total_len);
            self
        }

        /// Most calls of one connection that wait for their reply at one time, 1 to 65,536; 1,024 unless set.
        /// One more fails at once.
        pub fn max_in_flight(mut self, calls: u32) -> Self {
            self.config.limits.max_in_flight = calls.clamp(1, $crate::connection::MAX_IN_FLIGHT);
            self
        }

        /// Longest metadata of one message, encoded, in bytes, at most 49,152; 8 KiB unless set. Longer ones
        /// fail their call.
        pub fn max_metadata_size(mut self, bytes: u32) -> Self {
            self.config.limits.max_metadata_size = bytes.min($crate::connection::MAX_METADATA);
            self
        }

        /// How much of one stream's messages may be on their way or unread, in bytes; 256 KiB unless set.
        ///
        /// A sender that has sent so much waits until its peer has read some, so a slow reader holds at most
        /// so much and one message more. Each message counts 128 bytes beside its own. Zero refuses streams.
        pub fn stream_window(mut self, bytes: u32) -> Self {
            self.config.limits.stream_window = bytes;
            self
        }
    };
}

pub(crate) use limit_setters;
