//! What can be a message of a call: whatever says how long it is, writes itself, and is made of bytes again.
//!
//! ```text
//!   encoded_len() ──► so much room, where the message travels ◄── encode(room)
//!                                │ one copy
//!                                ▼
//!                          private bytes ──► decode(bytes)
//! ```
//!
//! Messages of protobuf are [`Encode`] and [`Decode`] as they are: whatever is a `prost::Message`. Beside
//! them there are [`Raw`] bytes, which nobody looks at, and with the feature `zerocopy` `Pod` values, which
//! lie in the message as they lie in memory. Another format is a type of one's own with these two traits:
//!
//! ```
//! use bytes::{Buf, BufMut};
//! use mmap_rpc::codec::{CodecError, Decode, Encode, Raw};
//! use mmap_rpc::{Request, Response, Server};
//!
//! struct Line(String);
//!
//! impl Encode for Line {
//!     fn encoded_len(&self) -> usize {
//!         self.0.len()
//!     }
//!
//!     fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
//!         to.put_slice(self.0.as_bytes());
//!         Ok(())
//!     }
//! }
//!
//! impl Decode for Line {
//!     fn decode(from: impl Buf) -> Result<Self, CodecError> {
//!         let text = std::str::from_utf8(from.chunk()).map_err(CodecError::new)?;
//!         Ok(Self(text.to_owned()))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().unary("/demo.Lines/Upper", |line: Request<Line>| {
//!     Ok(Response::new(Line(line.into_inner().0.to_uppercase())))
//! });
//! # let pair = mmap_rpc::testing::pair(server)?;
//! # let channel = pair.channel();
//! let upper = channel.method("/demo.Lines/Upper");
//! let reply = channel.unary::<Line, Line>(&upper, Line("straße".into()).into()).wait()?;
//! assert_eq!(reply.get_ref().0, "STRASSE");
//!
//! // What it sends is the text, so whoever has the text can send it, and the other way round.
//! let reply = channel.unary::<_, Raw>(&upper, Raw("plain").into()).wait()?;
//! assert_eq!(reply.get_ref().0, "PLAIN");
//! # Ok(())
//! # }
//! ```
//!
//! Client and server agree on the name of a method, not on types: which codec a method's messages have is
//! theirs to know. Bytes that do not decode fail their call with [`Code::Internal`](crate::Code::Internal),
//! and what is not encoded as it was announced is not sent. The generated stubs speak protobuf; services of
//! other codecs are made of [`ServerBuilder::unary`](crate::ServerBuilder::unary), or of a
//! [`Service`](crate::server::Service) that is written by hand, and called by
//! [`Channel::unary`](crate::Channel::unary) and its like.

#[cfg(feature = "zerocopy")]
mod pod;

use std::error::Error;

use bytes::{Buf, BufMut, Bytes};

use crate::rpc::status::Status;

#[cfg(feature = "zerocopy")]
pub use pod::Pod;

/// A message that can be sent. Every `prost::Message` is one.
pub trait Encode: Send + Sync {
    /// How many bytes [`encode`](Self::encode) writes.
    ///
    /// Asked first: the memory that the message travels in is taken for so many. At most 96 travel without
    /// any of their own.
    fn encoded_len(&self) -> usize;

    /// Writes the message, from front to back, to where it travels.
    ///
    /// `to` has room for as many bytes as [`encoded_len`](Self::encoded_len) has said, and what is put there
    /// beyond them is dropped. A message that comes out shorter or longer is not sent: its call fails with
    /// [`Code::Internal`](crate::Code::Internal), a text that names both lengths, and nothing else. It may be
    /// asked more than once: where there was no space, or no connection.
    ///
    /// A panic fails the call too. On a client it is the caller's, on a server it is caught.
    ///
    /// # Errors
    /// Why there are no bytes for this message. Nothing is sent then.
    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError>;
}

/// A message that can be received. Every `prost::Message` with a default is one.
pub trait Decode: Sized + Send {
    /// Whether [`decode`](Self::decode) also takes its bytes in several pieces, the later of which have yet
    /// to come. Then a long message may be decoded while it is written, and once more from the start if its
    /// rest keeps us waiting.
    const IN_PIECES: bool = false;

    /// Makes a message of bytes that came.
    ///
    /// They are a private copy, made once, in one piece: [`chunk`](Buf::chunk) is all of them, unless the
    /// type takes them [in pieces](Self::IN_PIECES).
    /// [`copy_to_bytes`](Buf::copy_to_bytes) shares their memory where it takes 1 KiB and more, and copies
    /// what is shorter. Their alignment is any. Bytes that are left over are no error unless the codec makes
    /// them one.
    ///
    /// # Errors
    /// Why the bytes are none of this type.
    fn decode(from: impl Buf) -> Result<Self, CodecError>;
}

impl<M: prost::Message> Encode for M {
    #[inline]
    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(self)
    }

    #[inline]
    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        // What `prost::Message::encode` does beside this is to ask for the length once more.
        self.encode_raw(to);
        Ok(())
    }
}

impl<M: prost::Message + Default> Decode for M {
    const IN_PIECES: bool = true;

    #[inline]
    fn decode(from: impl Buf) -> Result<Self, CodecError> {
        <M as prost::Message>::decode(from).map_err(CodecError::new)
    }
}

/// Bytes as a message: whatever has some can be sent, and what is made of [`Bytes`] received.
///
/// [`Channel::raw`](crate::Channel::raw) and [`ServerBuilder::raw`](crate::ServerBuilder::raw) speak the
/// same, and their bytes can be filled and read where they travel. This one is for streams, and for methods
/// whose other half is of another codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Raw<B = Bytes>(pub B);

impl<B: AsRef<[u8]> + Send + Sync> Encode for Raw<B> {
    #[inline]
    fn encoded_len(&self) -> usize {
        self.0.as_ref().len()
    }

    #[inline]
    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        to.put_slice(self.0.as_ref());
        Ok(())
    }
}

impl<B: From<Bytes> + Send> Decode for Raw<B> {
    #[inline]
    fn decode(mut from: impl Buf) -> Result<Self, CodecError> {
        Ok(Self(from.copy_to_bytes(from.remaining()).into()))
    }
}

/// Why a message was not encoded, or bytes did not decode.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(Box<dyn Error + Send + Sync>);

impl CodecError {
    /// Of a text, or of another error. The peer may read it.
    #[cold]
    pub fn new(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(why.into())
    }
}

/// What a message comes to that has said how long it is.
///
/// # Errors
/// `Internal` if it was not encoded, or is not as long: what it left unwritten is not for the peer to see.
#[inline(always)]
pub(crate) fn encoded(outcome: Result<(), CodecError>, said: usize, written: usize) -> Result<(), Status> {
    match outcome {
        Ok(()) if written == said => Ok(()),
        outcome => Err(unencodable(outcome, said, written)),
    }
}

#[cold]
fn unencodable(outcome: Result<(), CodecError>, said: usize, written: usize) -> Status {
    Status::internal(match outcome {
        Err(error) => format!("the message does not encode: {error}"),
        Ok(()) => format!("the message's encoded_len() says {said} bytes, and it encodes to {written}"),
    })
}

/// The bytes of a message that is not sent yet.
///
/// # Errors
/// As for [`encoded`]; `ResourceExhausted` if there is no memory for as many.
#[cold]
pub(crate) fn encode_to_vec<M: Encode>(message: &M) -> Result<Vec<u8>, Status> {
    let (len, mut bytes) = (message.encoded_len(), Vec::new());
    bytes.try_reserve_exact(len).map_err(|error| Status::resource_exhausted(error.to_string()))?;
    encoded(message.encode(&mut bytes), len, bytes.len())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::private::Private;

    /// Says one length, and has another.
    struct Says(usize, &'static [u8]);

    impl Encode for Says {
        fn encoded_len(&self) -> usize {
            self.0
        }

        fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
            to.put_slice(self.1);
            Ok(())
        }
    }

    #[test]
    fn what_is_kept_for_later_has_the_length_that_it_says() {
        assert_eq!(encode_to_vec(&Says(3, b"abc")).unwrap(), b"abc");
        for said in [0, 2, 4] {
            let status = encode_to_vec(&Says(said, b"abc")).unwrap_err();
            let says = format!("encoded_len() says {said} bytes, and it encodes to 3");
            assert!(status.message().contains(&says), "{status}");
        }
    }

    #[test]
    fn long_bytes_share_the_memory_that_they_came_in() {
        for (len, shares) in [(1023, false), (1024, true), (100_000, true)] {
            let came = Private::copied(&vec![7; len]);
            let place = came.chunk().as_ptr();
            let Raw(bytes) = <Raw>::decode(came).unwrap();
            assert_eq!((bytes.len(), bytes.as_ptr() == place), (len, shares));
        }
    }
}
