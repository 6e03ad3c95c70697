//! Messages that encode to another length than they say, or panic on the way: written by hand, since
//! generated ones cannot.

use mmap_rpc::__private::prost::bytes::{Buf, BufMut};
use mmap_rpc::__private::prost::encoding::{DecodeContext, WireType};
use mmap_rpc::__private::prost::{DecodeError, Message};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Request, Response};

use crate::proto::Blob;

/// The method of [`Liars`].
pub const LIE: &str = "/lies.Liars/Lie";

/// What a message does instead of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lie {
    /// It writes less.
    #[default]
    Short,
    /// It writes more.
    Long,
    /// It panics half way.
    Panic,
}

/// All of them.
pub const LIES: [Lie; 3] = [Lie::Short, Lie::Long, Lie::Panic];

/// A message that says a length and does something else.
#[derive(Debug, Default)]
pub struct Liar {
    /// What it says.
    pub said: usize,
    /// What it does.
    pub lie: Lie,
}

impl Message for Liar {
    fn encode_raw(&self, out: &mut impl BufMut) {
        out.put_slice(&vec![7; self.said / 2]);
        match self.lie {
            Lie::Short => {}
            Lie::Long => out.put_slice(&vec![7; self.said]),
            Lie::Panic => panic!("half way"),
        }
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: WireType,
        _: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.said
    }

    fn clear(&mut self) {}
}

/// Answers each request with a lie: its bytes choose one of these lengths, and the kind.
#[derive(Debug)]
pub struct Liars(pub &'static [usize]);

impl Service for Liars {
    fn name(&self) -> &'static str {
        "lies.Liars"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[LIE]
    }

    fn call(&self, _: usize, exchange: Exchange<'_>) -> Handled {
        exchange.unary(|request: Request<Blob>| {
            let data = &request.get_ref().data;
            Ok(Response::new(Liar { said: self.0[usize::from(data[0])], lie: LIES[usize::from(data[1])] }))
        })
    }
}
