//! One connection's life, the only layer that sees both planes.
//!
//! ```text
//!   handshake ──agreed──► Link (shared by all threads) ──violation, hang-up, farewell──► closed
//!                         Session (one driver)                                             │
//!        both regions, all segments, socket and doorbells are freed with the last guard ◄──┘
//! ```
//!
//! [`Link`] sends: any thread claims slots, fills them and publishes entries. [`Session`] receives: one
//! thread at a time, whatever drives it. Neither blocks; both are told what the socket said.
//!
//! Entries travel through rings, or, translated by `lane`, as frames on the socket. Regions are sealed
//! memory, or, copied by `backing`, in a file. `docs/protocol.md` says all of it in bytes.

mod ahead;
mod annotated;
mod arrivals;
mod backing;
mod bells;
mod close;
mod coming;
mod config;
mod control;
mod fill;
mod flow;
mod frames;
mod growth;
mod handshake;
mod lane;
mod link;
mod outbox;
mod post;
mod received;
mod region;
mod segments;
mod send;
mod session;
mod space;
mod wakers;
mod writer;

pub(crate) use crate::wire::MAX_METADATA;
pub(crate) use annotated::{prepare_annotated, prepare_bytes_behind};
pub(crate) use close::CloseReason;
pub(crate) use coming::Coming;
pub use config::{Backing, Lane};
pub(crate) use config::{Config, FILE_BACKING, MAX_IN_FLIGHT, call_index, limit_setters};
pub(crate) use control::{SocketState, read_control};
pub(crate) use fill::Filled;
pub(crate) use flow::{Credits, Flow};
pub(crate) use frames::Frames;
pub(crate) use handshake::{ClientHandshake, HandshakeError, answer, check_methods, printable, refusal};
pub(crate) use lane::UNKNOWN_METHOD;
pub(crate) use link::Link;
pub(crate) use received::{Arrived, Kept, Outside, Received};
pub(crate) use send::{
    Head, Prepared, SendFailure, Slot, encode_inline, prepare, prepare_bytes, send_in_flow, send_whole,
};
pub(crate) use session::{Event, EventHandler, Polled, Role, Session, Watch};
pub(crate) use space::SpaceNews;
#[cfg(feature = "tokio")]
pub(crate) use wakers::Blocks;
pub(crate) use wakers::Wakers;
