//! Bytes and descriptors in, control messages out: framing with the descriptors that belong to each frame.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use crate::error::Violation;
use crate::wire::{Decoder, Message};

/// Descriptors that may wait for the rest of their frame: the most that one message carries.
const MOST_WAITING: usize = 2;

/// Reassembles control messages from whatever the socket delivers. No I/O in it.
pub(crate) struct Frames {
    decoder: Decoder,
    /// Arrived, not yet claimed by a complete message.
    descriptors: VecDeque<OwnedFd>,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self { decoder: Decoder::new(), descriptors: VecDeque::new() }
    }

    /// Takes in what one read delivered. Call [`next`](Self::next) until it returns `None` before the next
    /// read.
    pub(crate) fn feed(&mut self, bytes: &[u8], descriptors: &mut Vec<OwnedFd>) {
        self.decoder.feed(bytes);
        self.descriptors.extend(descriptors.drain(..));
    }

    /// The next complete message with exactly the descriptors that travel with it.
    pub(crate) fn next(&mut self) -> Result<Option<(Message, Vec<OwnedFd>)>, Violation> {
        let frame = self.decoder.next_frame().map_err(|error| Violation::Frame(error.to_string()))?;
        let Some(body) = frame else {
            return self.check_strays().map(|()| None);
        };
        let message = Message::decode(&body).map_err(|error| Violation::Message(error.to_string()))?;
        let wanted = message.descriptors();
        if self.descriptors.len() < wanted {
            return Err(Violation::Descriptors(format!(
                "{} carries {wanted}, {} came",
                message.name(),
                self.descriptors.len()
            )));
        }
        let descriptors = self.descriptors.drain(..wanted).collect();
        Ok(Some((message, descriptors)))
    }

    /// Descriptors arrive with the first byte of their frame: none may be left when no frame is begun, and
    /// never more than one frame can claim.
    fn check_strays(&self) -> Result<(), Violation> {
        let allowed = if self.decoder.buffered() == 0 { 0 } else { MOST_WAITING };
        if self.descriptors.len() > allowed {
            return Err(Violation::Descriptors(format!(
                "{} came with a message that carries none",
                self.descriptors.len()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SegmentAdded;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn announcement() -> Vec<u8> {
        let mut bytes = Vec::new();
        let added =
            SegmentAdded { segment_id: 1, bytes: 4096, slot_size: 4096, slot_count: 1, first_handle: 64 };
        Message::SegmentAdded(added).encode_frame(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_split_frame_keeps_its_descriptor() {
        let bytes = announcement();
        let mut frames = Frames::new();
        frames.feed(&bytes[..3], &mut vec![descriptor()]);
        assert!(frames.next().unwrap().is_none());
        frames.feed(&bytes[3..], &mut Vec::new());
        let (message, descriptors) = frames.next().unwrap().unwrap();
        assert_eq!((message.name(), descriptors.len()), ("SegmentAdded", 1));
        assert!(frames.next().unwrap().is_none());
    }

    #[test]
    fn a_missing_descriptor_is_a_violation() {
        let mut frames = Frames::new();
        frames.feed(&announcement(), &mut Vec::new());
        assert!(matches!(frames.next(), Err(Violation::Descriptors(_))));
    }

    #[test]
    fn a_foreign_descriptor_is_a_violation() {
        let mut frames = Frames::new();
        frames.feed(b"0:,", &mut vec![descriptor()]);
        assert!(matches!(frames.next(), Ok(Some((Message::Doorbell, _)))));
        assert!(matches!(frames.next(), Err(Violation::Descriptors(_))));
    }
}
