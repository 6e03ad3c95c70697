//! Reading a connection's socket, for any driver: it never blocks.

use std::os::fd::OwnedFd;

use crate::connection::link::Link;
use crate::connection::send::SendFailure;
use crate::connection::session::Session;
use crate::error::Violation;
use crate::os::RecvError;

/// Bytes that one turn reads at most, so that a peer that floods its socket holds up nobody else: room for
/// hundreds of the messages that an honest peer sends, and for thousands of doorbells.
const BYTES_PER_TURN: usize = 16 * 1024;

/// How a turn at the socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// Nothing more to read now.
    Dry { freed_space: bool },
    /// There may be more: come back after the others had their turn.
    More { freed_space: bool },
    /// The peer has hung up.
    HungUp,
}

/// Feeds the session what the socket has, up to a turn's worth, or to what it holds.
pub(crate) fn read_control(session: &mut Session, link: &Link) -> Result<SocketState, SendFailure> {
    let mut buffer = [0; 4096];
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let (mut total, mut freed_space) = (0, false);
    while total < BYTES_PER_TURN && !session.is_full() {
        match link.socket().recv(&mut buffer, &mut descriptors) {
            Ok(0) => return Ok(SocketState::HungUp),
            Ok(count) => {
                total += count;
                let announced = !descriptors.is_empty();
                freed_space |= session.on_bytes(link, &buffer[..count], &mut descriptors)?;
                // Mapping a segment can take milliseconds: one of them is a turn's worth as well.
                if announced {
                    break;
                }
            }
            Err(RecvError::WouldBlock) => {
                session.on_dry();
                return Ok(SocketState::Dry { freed_space });
            }
            Err(RecvError::Truncated) => {
                let check = "more came with one message than any message carries".to_owned();
                return Err(link.violated(Violation::Descriptors(check)));
            }
            Err(RecvError::Io(_)) => return Ok(SocketState::HungUp),
        }
    }
    Ok(SocketState::More { freed_space })
}
