//! The rival: the same messages over a plain Unix socket, as one would write it by hand and with care.
//!
//! ```text
//! length u32, little-endian │ tag u8 │ message, `length` bytes
//! ```
//!
//! The tag of a request is its method, that of a reply says whether it is one. Reads and writes block, each
//! connection has a thread, and a frame is written by one system call. A small frame is also read by one.
//! Bytes are received into buffers that are used again once nobody holds a value in them, and what is decoded
//! shares them: apart from the kernel's copies there is the one that encodes a message, and none that decodes
//! it.

mod buffers;
mod frames;

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, bail};
use bytes::Bytes;
use mmap_rpc::{Request, Response, Status};
use prost::Message;

use crate::cache::{BlockingCache, GetRequest, GetResponse, SetRequest, SetResponse};
use crate::client::PATIENCE;
use crate::compare::Transport;
use crate::compare::rival::frames::Frames;
use crate::store::Store;

/// Methods.
const GET: u8 = 0;
const SET: u8 = 1;

/// Replies: a message, or the text of an error.
const ANSWER: u8 = 0;
const ERROR: u8 = 1;

/// Listens at `path`, and serves each client on a thread of its own.
pub(crate) fn listen(path: &Path, store: Arc<Store>) -> anyhow::Result<()> {
    let listener = UnixListener::bind(path).with_context(|| {
        format!("the plain socket cannot listen at {}; try a shorter TMPDIR", path.display())
    })?;
    let accept = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let store = store.clone();
            thread::spawn(move || serve(stream, &store));
        }
    };
    thread::Builder::new()
        .name("plain-accept".into())
        .spawn(accept)
        .map(drop)
        .context("cannot start a thread; see ulimit -u")
}

/// Answers the calls of one client until it leaves.
fn serve(stream: UnixStream, store: &Store) {
    let mut frames = Frames::new(stream);
    while let Ok(Some((method, message))) = frames.receive() {
        let sent = match method {
            GET => answer(&mut frames, message, |request| store.get(request)),
            SET => answer(&mut frames, message, |request| store.set(request)),
            _ => frames.send(ERROR, &String::from("there is no such method")),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn answer<Q: Message + Default, A: Message>(
    frames: &mut Frames,
    message: Bytes,
    handler: impl Fn(Request<Q>) -> Result<Response<A>, Status>,
) -> std::io::Result<()> {
    match Q::decode(message).map(|request| handler(request.into())) {
        Ok(Ok(reply)) => frames.send(ANSWER, reply.get_ref()),
        Ok(Err(status)) => frames.send(ERROR, &status.to_string()),
        Err(error) => frames.send(ERROR, &error.to_string()),
    }
}

/// The rival's client.
#[derive(Debug)]
pub(crate) struct Rival(Frames);

impl Rival {
    /// Connects to the plain socket at `path`.
    pub(crate) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| {
            let there =
                if fs::exists(path).unwrap_or(false) { "is its server alive?" } else { "no such socket" };
            format!("the client cannot connect to the plain socket {}: {there}", path.display())
        })?;
        Self::over(stream)
    }

    fn over(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE)).context("the plain socket takes no timeout")?;
        Ok(Self(Frames::new(stream)))
    }

    fn call<A: Message + Default>(&mut self, method: u8, request: &impl Message) -> anyhow::Result<A> {
        self.0.send(method, request)?;
        match self.0.receive()? {
            Some((ANSWER, message)) => Ok(A::decode(message)?),
            Some((_, message)) => bail!("the server refused: {}", String::decode(message)?),
            None => bail!("the server closed the connection"),
        }
    }
}

impl Transport for Rival {
    fn name(&self) -> &'static str {
        "unix-socket"
    }

    fn set(&mut self, request: SetRequest) -> anyhow::Result<SetResponse> {
        self.call(SET, &request)
    }

    fn get(&mut self, request: GetRequest) -> anyhow::Result<GetResponse> {
        self.call(GET, &request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_rival(test: impl FnOnce(Rival, &Store)) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let store = Store::default();
        thread::scope(|scope| {
            scope.spawn(|| serve(theirs, &store));
            test(Rival::over(ours).unwrap(), &store);
        });
    }

    fn set(key: &str, value: Bytes) -> SetRequest {
        SetRequest { key: key.into(), value, ttl_seconds: 0 }
    }

    #[test]
    fn values_of_all_sizes_come_back() {
        with_rival(|mut rival, _| {
            for size in [0, 1, 64, 4096, 20_000, 1 << 20, 4 << 20] {
                let mut value = vec![0; size];
                fastrand::fill(&mut value);
                assert!(rival.set(set("a", value.clone().into())).unwrap().success);
                let reply = rival.get(GetRequest { key: "a".into() }).unwrap();
                assert!(reply.found && reply.value == value, "{size} bytes");
            }
            assert!(!rival.get(GetRequest { key: "b".into() }).unwrap().found);
        });
    }

    #[test]
    fn a_stored_value_survives_later_messages() {
        with_rival(|mut rival, store| {
            rival.set(set("a", Bytes::from(vec![1; 5000]))).unwrap();
            rival.set(set("b", Bytes::from(vec![2; 5000]))).unwrap();
            let kept = rival.get(GetRequest { key: "a".into() }).unwrap();
            rival.get(GetRequest { key: "b".into() }).unwrap();
            assert_eq!(store.find("a").unwrap(), vec![1; 5000]);
            assert_eq!(kept.value, vec![1; 5000]);
        });
    }

    #[test]
    fn refusals_are_told_and_the_connection_lives_on() {
        with_rival(|mut rival, _| {
            let error = rival.set(SetRequest { ttl_seconds: -1, ..SetRequest::default() }).unwrap_err();
            assert!(error.to_string().contains("negative"), "{error}");
            let error = rival.call::<GetResponse>(9, &GetRequest::default()).unwrap_err();
            assert!(error.to_string().contains("no such method"), "{error}");
            assert!(!rival.get(GetRequest::default()).unwrap().found);
        });
    }

    #[test]
    fn a_server_that_left_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Rival::over(ours).unwrap().get(GetRequest::default()).is_err());
    }
}
