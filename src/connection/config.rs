//! What one end of a connection wants: limits, sizes, patience.

use std::time::Duration;

use crate::layout::Geometry;
use crate::ring::SPIN_BUDGET;
use crate::wire::Limits;

/// The oldest and the newest version of the protocol that this build speaks.
pub(crate) const VERSIONS: (u32, u32) = (1, 1);

/// Feature bits that this build knows; none is defined yet.
pub(crate) const KNOWN_FEATURES: u64 = 0;

/// Handles below this many calls in flight fit a call id's index: see [`call_index`].
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits { max_message_size: 64 << 20, max_region_bytes: 256 << 20, max_in_flight: 1024 },
            handshake_timeout: Duration::from_secs(5),
            spin: SPIN_BUDGET,
            geometry: Geometry::standard(),
        }
    }
}
