//! How our own region grows: a segment is reserved, made, announced, and then opened to claims.
//!
//! Cold: a call comes here when it found no slot, and what it asks for costs a thousand times what a lock
//! does.

use crate::connection::link::{Link, thread_ordinal};
use crate::connection::outbox::Outgoing;
use crate::connection::post::encode;
use crate::connection::region::{NewSegment, NoGrowth, Reserved, Run};
use crate::connection::send::{SendFailure, too_large};
use crate::os::create_sealed;
use crate::rpc::Status;
use crate::wire::{Message, SegmentAdded};

impl Link {
    /// Adds a segment for messages of `len` bytes. `Wait` means that others must give something back first.
    #[cold]
    pub(super) fn grow(&self, len: u64) -> Result<(), SendFailure> {
        let Some(run) = Run::for_message(len, self.own_cap()) else {
            return Err(SendFailure::Failed(too_large(len, self.limits().max_message_size)));
        };
        let mut growth = self.own.lock_growth();
        // While we waited for the lock another thread may have grown the region for the same reason.
        if let Some(claim) = self.own.slab.claim(self.slab_view(), len, thread_ordinal()) {
            self.own.slab.abort(self.slab_view(), claim.handle);
            return Ok(());
        }
        let mut reserved = self.own.reserve(&mut growth, run, self.own_cap());
        if let Err(NoGrowth::AtCap | NoGrowth::NoHandles) = reserved {
            drop(growth);
            self.retire_idle(run.bytes())?;
            growth = self.own.lock_growth();
            reserved = self.own.reserve(&mut growth, run, self.own_cap());
        }
        drop(growth);
        match reserved {
            Ok(reserved) => self.add_segment(reserved),
            Err(NoGrowth::AtCap | NoGrowth::NoHandles | NoGrowth::Opening) => Err(SendFailure::Wait),
            Err(NoGrowth::TooLarge { needed }) => {
                Err(SendFailure::Failed(Status::resource_exhausted(format!(
                    "a message of {len} bytes needs a region of {needed} bytes, the cap is {}; raise \
                     max_region_bytes on both sides",
                    self.own_cap()
                ))))
            }
        }
    }

    /// Adds a segment for messages of `len` bytes although there are slots, so that there are more. Where the
    /// cap leaves no room for it the few that there are have to do: nobody else's are dropped for them.
    #[cold]
    pub(super) fn widen(&self, len: u64) {
        let Some(run) = Run::for_message(len, self.own_cap()) else {
            return;
        };
        let reserved = self.own.reserve(&mut self.own.lock_growth(), run, self.own_cap());
        if let Ok(reserved) = reserved {
            // The claim that follows meets what went wrong, if it matters to it.
            let _ = self.add_segment(reserved);
        }
    }

    /// Makes a reserved segment, and announces it.
    fn add_segment(&self, reserved: Reserved) -> Result<(), SendFailure> {
        let run = reserved.run;
        // No lock is held here: a large segment takes milliseconds.
        let (fd, mapping) = create_sealed("mmap-rpc-segment", run.bytes()).map_err(|error| {
            self.own.lock_growth().cancel(&reserved);
            SendFailure::Failed(Status::resource_exhausted(format!(
                "the region cannot grow by {} bytes: {error}",
                run.bytes()
            )))
        })?;
        let announcement = Message::SegmentAdded(SegmentAdded {
            segment_id: reserved.id,
            bytes: run.bytes(),
            slot_size: run.slot_size,
            slot_count: run.slot_count,
            first_handle: reserved.words.start as u32 * 64,
        });
        let announces = Some(NewSegment { reserved, fd, mapping });
        self.dispatch(Outgoing { bytes: encode(&announcement), announces })
    }

    /// Drops idle segments until `bytes` more fit, and tells the peer.
    ///
    /// The drops are queued before the growth lock is released: whoever uses the bytes that they free
    /// announces its segment behind them, so the peer never counts both.
    fn retire_idle(&self, bytes: u64) -> Result<(), SendFailure> {
        // What was returned and not yet harvested would count as in use.
        self.harvest()?;
        let mut outbox = self.lock_outbox();
        let mut growth = self.own.lock_growth();
        for segment_id in self.own.retire(&mut growth, bytes, self.own_cap()) {
            let frame = encode(&Message::SegmentDropped { segment_id });
            if !outbox.push(Outgoing { bytes: frame, announces: None }) {
                drop((growth, outbox));
                return Err(self.deaf());
            }
        }
        drop(growth);
        self.flush_locked(&mut outbox)
    }
}
