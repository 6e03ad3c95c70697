//! Is a message that is read while it is written read whole, or not at all, and does its slot come back?

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;

use crate::harness::{bounded, unbounded};
use crate::layout::Handle;
use crate::layout::words::{FILLS, FillLine, FreeWord, HANDLE_WORDS, SlabView};
use crate::slab::{Fill, Filling, Fills, Harvest, Level, Slab, give_back};

/// Bytes of a message, and of a slot.
const LEN: u64 = 2;

/// The writing side, and the one word of the reading side that it looks at.
struct Region {
    slab: Slab,
    fills: Fills,
    lines: [FillLine; FILLS],
    free: Box<[FreeWord]>,
    ret: Box<[AtomicU64]>,
    /// The bytes of slot 0: loom reports a write that overlaps a read.
    bytes: [UnsafeCell<u32>; LEN as usize],
    /// The `seq` of the entry that names slot 0 and the start of the line.
    seq: AtomicU32,
}

impl Region {
    fn new(slots: u32) -> Arc<Self> {
        let line = || FillLine { level: AtomicU64::new(0), given_up: AtomicU64::new(0) };
        let region = Self {
            slab: Slab::new(),
            fills: Fills::new(),
            lines: std::array::from_fn(|_| line()),
            free: (0..HANDLE_WORDS).map(|_| FreeWord(AtomicU64::new(0))).collect(),
            ret: (0..HANDLE_WORDS).map(|_| AtomicU64::new(0)).collect(),
            bytes: [UnsafeCell::new(0), UnsafeCell::new(0)],
            seq: AtomicU32::new(0),
        };
        region.slab.add_run(region.view(), 0, LEN, slots);
        Arc::new(region)
    }

    fn view(&self) -> SlabView<'_> {
        SlabView { free: &self.free, ret: &self.ret }
    }

    fn claim(&self) -> Option<Handle> {
        self.slab.claim(self.view(), LEN, 0).map(|claim| claim.handle)
    }

    /// Takes the line, and publishes the entry of slot 0.
    fn begin(&self) -> Fill<'_> {
        let fill = self.fills.begin(&self.lines, LEN).expect("the line is free");
        self.seq.store(1, Ordering::Release);
        fill
    }

    fn write(&self, at: usize) {
        // SAFETY: loom checks that no other access overlaps.
        self.bytes[at].with_mut(|byte| unsafe { *byte += 1 });
    }

    /// The reader's half of the message in slot 0, if its entry is there.
    fn receive(&self) -> Option<Filling> {
        if self.seq.load(Ordering::Relaxed) == 0 {
            return None;
        }
        fence(Ordering::Acquire);
        Some(Filling::admit(0, 0, LEN).unwrap())
    }

    /// Looks twice and reads what there is; true if that is all.
    fn follow(&self, filling: &mut Filling) -> bool {
        let mut read = 0;
        for _ in 0..2 {
            let Level::Bytes(there) = filling.look(&self.lines).expect("an honest peer") else {
                panic!("nobody gave it up");
            };
            for at in read..there {
                // SAFETY: loom checks that no write overlaps.
                self.bytes[at as usize].with(|byte| unsafe { assert_eq!(*byte, 1) });
            }
            read = there;
        }
        read == LEN
    }

    fn harvest(&self) -> Harvest {
        self.slab.harvest(self.view()).expect("an honest peer")
    }
}

/// A message of two bytes, each told of as soon as it is written, and then the slot's next use: is any byte
/// read before it is written, or written anew before it is read?
#[test]
pub(crate) fn what_is_told_of_is_there() {
    unbounded(|| {
        let region = Region::new(1);
        let peer = region.clone();
        let peer = thread::spawn(move || {
            if let Some(mut filling) = peer.receive()
                && peer.follow(&mut filling)
            {
                give_back(&peer.ret, Handle::new(0).unwrap());
            }
        });
        let slot = region.claim().unwrap();
        let fill = region.begin();
        region.write(0);
        fill.raise(1);
        region.write(1);
        fill.finish(&region.slab, slot);
        let _ = region.harvest();
        if region.claim().is_some() {
            region.write(0);
            region.write(1);
        }
        peer.join().unwrap();
    });
}

/// Another thread harvests while the last byte is told of: is a quick return forged in its eyes?
#[test]
pub(crate) fn finish_beside_harvest() {
    bounded(3, || {
        let region = Region::new(1);
        let harvester = region.clone();
        let harvester = thread::spawn(move || harvester.harvest());
        let peer = region.clone();
        let peer = thread::spawn(move || {
            if let Some(mut filling) = peer.receive()
                && filling.look(&peer.lines) == Ok(Level::Bytes(LEN))
            {
                give_back(&peer.ret, Handle::new(0).unwrap());
            }
        });
        let slot = region.claim().unwrap();
        region.begin().finish(&region.slab, slot);
        peer.join().unwrap();
        let _ = harvester.join().unwrap();
        let _ = region.harvest();
        let counts = region.slab.counts(region.view());
        assert_eq!(counts.free + counts.in_flight, 1);
    });
}

/// A message is given up: does the reader ever take it for one that is complete?
#[test]
pub(crate) fn what_is_given_up_is_no_message() {
    unbounded(|| {
        let region = Region::new(1);
        let peer = region.clone();
        let peer = thread::spawn(move || {
            if let Some(mut filling) = peer.receive() {
                let level = filling.look(&peer.lines).expect("an honest peer");
                assert_ne!(level, Level::Bytes(LEN), "half a message taken for a whole one");
            }
        });
        let slot = region.claim().unwrap();
        region.begin().give_up(&region.slab, slot);
        peer.join().unwrap();
        assert!(region.fills.begin(&region.lines, LEN).is_none(), "its line is never used again");
    });
}

/// Two threads use the line one after the other: does the second start where the first ended?
#[test]
pub(crate) fn a_line_goes_on_where_it_ended() {
    unbounded(|| {
        let region = Region::new(2);
        let send = |region: &Region| {
            let slot = region.claim().unwrap();
            match region.fills.begin(&region.lines, LEN) {
                Some(fill) => {
                    fill.finish(&region.slab, slot);
                    LEN
                }
                None => 0,
            }
        };
        let other = region.clone();
        let other = thread::spawn(move || send(&other));
        let sent = send(&region) + other.join().unwrap();
        assert_eq!(region.lines[0].level.load(Ordering::Relaxed), sent, "the level is all that was sent");
    });
}
