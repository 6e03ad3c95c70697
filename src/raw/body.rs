//! What a raw request or reply can be made of.

use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{Head, Link, Prepared, SendFailure, prepare_bytes};
use crate::raw::loan::{Loan, Parts, another_connection};
use crate::ring::INLINE_BYTES;
use crate::rpc::Status;

/// The bytes of a raw request or reply: a loan, which travels as it is, or bytes that are copied into a slot.
///
/// Slices, vectors, [`Bytes`] and [`Loan`]s convert into it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RawBody<'a> {
    /// Copied when the message is sent.
    Slice(&'a [u8]),
    /// Copied when the message is sent.
    Bytes(Bytes),
    /// Sent without a copy.
    Loan(Loan),
}

impl<'a> From<&'a [u8]> for RawBody<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Slice(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for RawBody<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Slice(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for RawBody<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Slice(bytes)
    }
}

impl From<Vec<u8>> for RawBody<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Bytes> for RawBody<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Loan> for RawBody<'_> {
    fn from(loan: Loan) -> Self {
        Self::Loan(loan)
    }
}

impl RawBody<'_> {
    /// The bytes in memory of their own.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Slice(bytes) => bytes.to_vec(),
            Self::Bytes(bytes) => bytes.into(),
            Self::Loan(loan) => loan.to_vec(),
        }
    }

    /// The bytes where they lie.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Bytes(bytes) => bytes,
            Self::Loan(loan) => loan,
        }
    }

    /// Fails for a loan of a connection's memory: it travels on that connection alone.
    pub(crate) fn check_private(&self) -> Result<(), Status> {
        match self {
            Self::Loan(loan) if !loan.is_private() => Err(another_connection()),
            _ => Ok(()),
        }
    }

    /// Bytes that travel in their entry, and need no slot. `None` for longer ones, and loans that have one.
    #[inline(always)]
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        let bytes = match self {
            Self::Slice(bytes) => bytes,
            Self::Bytes(bytes) => &bytes[..],
            Self::Loan(loan) => return loan.as_short(),
        };
        (bytes.len() <= INLINE_BYTES).then_some(bytes)
    }

    /// Brings it to where it will travel. After `Wait` it is unchanged: try again once there is space.
    pub(crate) fn prepare(
        &mut self,
        link: &Arc<Link>,
        head: Head,
    ) -> Result<Prepared<Arc<Link>>, SendFailure> {
        if let Self::Loan(loan) = self {
            match std::mem::replace(loan, Loan::private(0)).into_parts(link).map_err(SendFailure::Failed)? {
                // So few bytes travel faster in the entry, and the slot is free at once.
                Parts::Slot(slot, len) if len <= INLINE_BYTES => {
                    return Ok(Prepared::inline(head, slot.bytes(len)));
                }
                Parts::Slot(slot, len) => return Ok(Prepared::in_slot(head, slot, len as u64)),
                Parts::Private(bytes) => *self = Self::Bytes(bytes.into()),
            }
        }
        match self {
            Self::Slice(bytes) => prepare_bytes(link.clone(), head, bytes),
            Self::Bytes(bytes) => prepare_bytes(link.clone(), head, bytes),
            Self::Loan(_) => unreachable!("a loan has been taken apart above"),
        }
    }
}
