//! Frames on their way to the peer, while the socket has no room for them.
//!
//! All socket writes of a connection pass through one outbox under one private lock: frames stay whole, in
//! order, and together with their descriptors. Control traffic is rare, so the lock is never on a call's
//! path.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::connection::region::NewSegment;

/// Frames that may wait for a peer that does not read; one more closes the connection.
const MOST_WAITING: usize = 256;

/// A frame, and the segment that travels beside it.
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    /// What this frame announces: open to claims once the frame has been written completely.
    pub(crate) announces: Option<NewSegment>,
}

impl Outgoing {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.announces.as_ref().map(|segment| segment.fd.as_fd())
    }
}

/// The frames that wait, and how much of the first one is out.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Outgoing>,
    /// Bytes of the first frame already written. Its descriptors went with the first of them.
    written: usize,
}

impl Outbox {
    /// Queues a frame. False if the peer has let too many pile up.
    #[must_use]
    pub(crate) fn push(&mut self, frame: Outgoing) -> bool {
        self.waiting.push_back(frame);
        self.waiting.len() <= MOST_WAITING
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes as much as `send` takes; returns the segments whose announcements are out.
    pub(crate) fn flush(
        &mut self,
        mut send: impl FnMut(&[u8], &[BorrowedFd<'_>]) -> io::Result<usize>,
    ) -> io::Result<Vec<NewSegment>> {
        let mut announced = Vec::new();
        while let Some(frame) = self.waiting.front() {
            let descriptor = if self.written == 0 { frame.descriptor() } else { None };
            match send(&frame.bytes[self.written..], descriptor.as_slice()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.written == frame.bytes.len() {
                self.written = 0;
                announced.extend(self.waiting.pop_front().and_then(|frame| frame.announces));
            }
        }
        Ok(announced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::region::Run;
    use crate::os::create_sealed;

    fn frame(bytes: &[u8]) -> Outgoing {
        Outgoing { bytes: bytes.to_vec(), announces: None }
    }

    #[test]
    fn frames_leave_whole_and_in_order_whatever_the_socket_takes() {
        let mut outbox = Outbox::default();
        assert!(outbox.push(frame(b"first")) && outbox.push(frame(b"second")));
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let mut room = 3;
            let send = |bytes: &[u8], _: &[BorrowedFd<'_>]| {
                if room == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = bytes.len().min(room);
                room -= count;
                out.extend_from_slice(&bytes[..count]);
                Ok(count)
            };
            outbox.flush(send).unwrap();
        }
        assert_eq!(out, b"firstsecond");
    }

    #[test]
    fn a_segment_goes_with_the_first_byte_and_opens_with_the_last() {
        let run = Run { slot_size: 4096, slot_count: 1 };
        let (fd, mapping) = create_sealed("test", run.bytes()).unwrap();
        let segment = NewSegment::for_test(7, run, fd, mapping);
        let mut outbox = Outbox::default();
        assert!(outbox.push(Outgoing { bytes: b"abc".to_vec(), announces: Some(segment) }));
        let mut counts = Vec::new();
        let mut send = |fds: &[BorrowedFd<'_>], last: bool| {
            counts.push(fds.len());
            if last { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(1) }
        };
        let mut sent = 0;
        let announced = outbox.flush(|_, fds| {
            sent += 1;
            send(fds, sent == 3)
        });
        assert!(announced.unwrap().is_empty(), "one byte is still missing");
        let announced = outbox.flush(|_, fds| send(fds, false)).unwrap();
        assert_eq!(announced.len(), 1);
        assert_eq!(counts, [1, 0, 0, 0]);
    }

    #[test]
    fn a_peer_that_does_not_read_fills_it() {
        let mut outbox = Outbox::default();
        for _ in 0..MOST_WAITING {
            assert!(outbox.push(frame(b"x")));
        }
        assert!(!outbox.push(frame(b"x")));
    }
}
