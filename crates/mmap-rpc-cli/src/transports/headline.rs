//! The headline: a random value of 4 MiB as base64 text is stored by one call, asked for by the next, and
//! compared. Beside it, the copies and checks that this must make, in one process.
//!
//! The text is a `string` field, so whoever decodes it checks that it is UTF-8, and every message carries a
//! copy: into a buffer and out of it, for Set and for Get. Neither side makes others: messages are kept and
//! sent as [`Lent`], which shares what prost derived, as it derives generated messages (their `prost_path`).

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, ensure};
use bytes::{Buf, BufMut};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Method, Request, Response, Server, Status};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::typed::{channel, run};
use crate::transports::{Echo, Place, Transport};

/// Bytes of the value, and of its text.
const VALUE: usize = 4 << 20;
/// Bytes of the text: four for three, rounded up.
pub const TEXT: usize = VALUE.div_ceil(3) * 4;

const SET: &str = "/bench.Store/Set";
const GET: &str = "/bench.Store/Get";
/// Where the values are stored.
pub const KEY: &str = "headline";

/// Stores a value.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::mmap_rpc::__private::prost")]
pub struct SetRequest {
    /// Where to find it.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The value is stored.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::mmap_rpc::__private::prost")]
pub struct SetReply {
    /// Always.
    #[prost(bool, tag = "1")]
    pub stored: bool,
}

/// Asks for a value.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::mmap_rpc::__private::prost")]
pub struct GetRequest {
    /// Where it was stored.
    #[prost(string, tag = "1")]
    pub key: String,
}

/// The value.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::mmap_rpc::__private::prost")]
pub struct GetReply {
    /// What was stored last.
    #[prost(string, tag = "1")]
    pub value: String,
}

/// A message that is sent more than once without being copied first.
#[derive(Debug, Clone, Default)]
pub struct Lent<M>(pub Arc<M>);

impl<M: Message + Clone + Default> Message for Lent<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        Arc::make_mut(&mut self.0).merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Set and Get over this library.
#[derive(Debug)]
pub struct Headline;

impl Transport for Headline {
    fn name(&self) -> &'static str {
        "headline"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn sizes(&self, _: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        vec![TEXT]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        run(serving, Server::builder().service(Store::default()))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let channel = channel(place)?;
        let methods = [SET, GET].map(|name| channel.method(name));
        Ok(Box::new(Client { channel, methods, sets: sets() }))
    }
}

/// The values, ready to be sent.
#[derive(Debug, Default)]
pub struct Store(Mutex<HashMap<String, Lent<GetReply>>>);

impl Store {
    /// Stores a value.
    pub fn set(&self, request: SetRequest) -> SetReply {
        let reply = Lent(Arc::new(GetReply { value: request.value }));
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = values.insert(request.key, reply);
        drop((values, old));
        SetReply { stored: true }
    }

    /// What was stored last.
    pub fn get(&self, key: &str) -> Option<Lent<GetReply>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(key).cloned()
    }
}

impl Service for Store {
    fn name(&self) -> &'static str {
        "bench.Store"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[SET, GET]
    }

    fn may_begin_anew(&self) -> bool {
        true
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange
                .unary(|request: Request<SetRequest>| Ok(Response::new(self.set(request.into_inner())))),
            1 => exchange.unary(|request: Request<GetRequest>| {
                let value = self.get(&request.get_ref().key);
                value.map(Response::new).ok_or_else(|| Status::not_found("no such key"))
            }),
            _ => exchange.unimplemented(),
        }
    }
}

struct Client {
    channel: Channel,
    methods: [Method; 2],
    sets: [Lent<SetRequest>; 2],
}

impl Echo for Client {
    fn echo(&mut self, _: usize, number: u64) -> anyhow::Result<()> {
        let [set, get] = &self.methods;
        let sent = &self.sets[number as usize % 2];
        let stored = self.channel.unary::<_, SetReply>(set, sent.clone().into()).wait()?;
        let request = GetRequest { key: KEY.into() };
        let reply = self.channel.unary::<_, GetReply>(get, request.into()).wait()?;
        check(&sent.0, stored.get_ref(), reply.get_ref())
    }
}

/// What the headline must do: four copies of the text, two checks for UTF-8, one comparison.
#[derive(Debug)]
pub struct Copies;

impl Transport for Copies {
    fn name(&self) -> &'static str {
        "copies"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn sizes(&self, _: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        vec![TEXT]
    }

    fn has_server(&self) -> bool {
        false
    }

    fn serve(&self, _: &Serving) -> anyhow::Result<()> {
        bail!("it has no server")
    }

    fn connect(&self, _: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let texts = texts();
        let buffers = [0; 4].map(|_| vec![0; TEXT]);
        Ok(Box::new(Copier { texts, buffers }))
    }
}

struct Copier {
    texts: [String; 2],
    /// The request on its way, the stored value, the reply on its way, the value that came back.
    buffers: [Vec<u8>; 4],
}

impl Echo for Copier {
    fn echo(&mut self, _: usize, number: u64) -> anyhow::Result<()> {
        let text = &self.texts[number as usize % 2];
        let [request, stored, reply, value] = &mut self.buffers;
        black_box(&mut *request).copy_from_slice(black_box(text.as_bytes()));
        black_box(&mut *stored).copy_from_slice(request);
        black_box(std::str::from_utf8(stored)?);
        black_box(&mut *reply).copy_from_slice(stored);
        black_box(&mut *value).copy_from_slice(reply);
        ensure!(std::str::from_utf8(black_box(value))? == text, "a copy differs");
        Ok(())
    }
}

/// Two requests that take turns, so that an old value cannot pass for a new one.
pub fn sets() -> [Lent<SetRequest>; 2] {
    texts().map(|value| Lent(Arc::new(SetRequest { key: KEY.into(), value })))
}

/// Whether the value was stored and came back.
///
/// # Errors
/// If not.
pub fn check(sent: &SetRequest, stored: &SetReply, got: &GetReply) -> anyhow::Result<()> {
    ensure!(stored.stored, "the value was not stored");
    ensure!(got.value == sent.value, "the value that came back is another one");
    Ok(())
}

/// Two random values as text.
fn texts() -> [String; 2] {
    [1, 2].map(|seed| base64(&noise(VALUE, seed)))
}

/// Random bytes, by xorshift.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// Base64 with the usual alphabet and padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { letter.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_base64() {
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, text) in expected.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
        assert_eq!(TEXT, 5_592_408);
        assert_eq!(base64(&noise(3000, 1)).len(), 4000);
        assert_ne!(noise(100, 1), noise(100, 2));
    }

    #[test]
    fn a_lent_message_travels_as_the_message_itself() {
        let message = SetRequest { key: "a".into(), value: "b".into() };
        let lent = Lent(Arc::new(message.clone()));
        assert_eq!(lent.encode_to_vec(), message.encode_to_vec());
        let decoded = Lent::<SetRequest>::decode(&*message.encode_to_vec()).unwrap();
        assert_eq!(*decoded.0, message);
    }
}
