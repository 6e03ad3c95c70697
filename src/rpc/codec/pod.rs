//! Values that are sent as they lie in memory.

use bytes::{Buf, BufMut};
use zerocopy::{Immutable, IntoBytes, TryFromBytes, TryReadError};

use crate::rpc::codec::{CodecError, Decode, Encode};

/// A plain value as a message: its bytes are those that it has in memory, so that nothing is encoded and
/// nothing parsed.
///
/// The traits of `zerocopy`, which it derives, say which values these are: [`IntoBytes`] and [`Immutable`] to
/// be sent, [`FromBytes`](zerocopy::FromBytes) to be received. [`TryFromBytes`] will do where not all bytes
/// are a value (`bool`, enums): they are looked at then. A message of another length fails its call, with
/// both lengths in the text.
///
/// Both sides have to agree on the layout, `#[repr(C)]` for instance, which no `.proto` file keeps: whoever
/// changes a type gives its method another name. Byte order is that of the machine, since there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Pod<T>(pub T);

impl<T: IntoBytes + Immutable + Send + Sync> Encode for Pod<T> {
    #[inline]
    fn encoded_len(&self) -> usize {
        size_of::<T>()
    }

    #[inline]
    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        to.put_slice(self.0.as_bytes());
        Ok(())
    }
}

impl<T: TryFromBytes + Send> Decode for Pod<T> {
    #[inline]
    fn decode(from: impl Buf) -> Result<Self, CodecError> {
        T::try_read_from_bytes(from.chunk()).map(Self).map_err(not_of_type::<T>)
    }
}

#[cold]
fn not_of_type<T: TryFromBytes>(error: TryReadError<&[u8], T>) -> CodecError {
    let name = std::any::type_name::<T>();
    CodecError::new(match error {
        TryReadError::Size(error) => {
            format!("{} bytes came where {name} has {}", error.into_src().len(), size_of::<T>())
        }
        _ => format!("the {} bytes that came are no {name}", size_of::<T>()),
    })
}
