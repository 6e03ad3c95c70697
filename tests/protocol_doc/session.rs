//! Real sessions, with a proxy between client and server that notes what passes: frames and file descriptors.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};

use mmap_rpc::server::ShutdownHandle;
use mmap_rpc::{Channel, ChannelBuilder, Code, Lane, Request, Response, Server, ServerBuilder, Status};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tempfile::TempDir;

use crate::streams;

/// The cache's messages, as `examples/cache` has them.
pub(crate) mod cache {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetRequest {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetResponse {
        #[prost(bytes = "vec", tag = "1")]
        pub(crate) value: Vec<u8>,
        #[prost(bool, tag = "2")]
        pub(crate) found: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct SetRequest {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) value: Vec<u8>,
        #[prost(int32, tag = "3")]
        pub(crate) ttl_seconds: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct SetResponse {
        #[prost(bool, tag = "1")]
        pub(crate) success: bool,
    }
}

use cache::{GetRequest, GetResponse, SetRequest, SetResponse};

pub(crate) const KEY: &str = "key-0";

/// A value that a reader of a dump knows again.
pub(crate) fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b'a' + (at % 26) as u8).collect()
}

/// A server of the cache with one key, on a thread of its own, in a folder of its own.
pub(crate) struct Site {
    stop: ShutdownHandle,
    serving: Option<JoinHandle<io::Result<()>>>,
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) fn start(setting: impl FnOnce(ServerBuilder, &Path) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let store = kept.clone();
        let get = move |request: Request<GetRequest>| match &request.get_ref().key {
            key if key == KEY => {
                let value = kept.lock().expect("not poisoned").clone();
                Ok(Response::new(GetResponse { value, found: true }))
            }
            _ if request.metadata().is_empty() => Err(Status::not_found("no such key")),
            key => {
                let mut status = Status::with_details(Code::NotFound, "no such key", key.clone());
                status.metadata_mut().insert("shard", "7").expect("a pair");
                Err(status)
            }
        };
        let set = move |request: Request<SetRequest>| {
            let is_annotated = !request.metadata().is_empty();
            let value = request.into_inner().value;
            let len = value.len();
            *store.lock().expect("not poisoned") = value;
            let mut response = Response::new(SetResponse { success: true });
            if is_annotated {
                response.metadata_mut().insert("shard", "7").expect("a pair");
                response.trailers_mut().insert("stored", format!("{len} bytes")).expect("a pair");
            }
            Ok(response)
        };
        let builder = Server::builder().unary("/cache.Cache/Get", get).unary("/cache.Cache/Set", set);
        let server = setting(builder, dir.path()).bind(dir.path().join("socket")).expect("a server");
        let stop = server.shutdown_handle();
        let serving = Some(thread::spawn(move || server.run()));
        Self { stop, serving, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.shutdown();
        let ended = self.serving.take().expect("ended once").join();
        if !thread::panicking() {
            ended.expect("no panic").expect("a server that ends well");
        }
    }
}

/// What one read at the proxy delivered.
struct Heard {
    from_client: bool,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// A listener that hands one client on to a server.
pub(crate) struct Tap {
    path: PathBuf,
    heard: Arc<Mutex<Vec<Heard>>>,
    passing: JoinHandle<()>,
}

impl Tap {
    pub(crate) fn before(site: &Site) -> Self {
        let (path, server) = (site.dir.path().join("tap"), site.path());
        let listener = UnixListener::bind(&path).expect("a listener");
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let log = heard.clone();
        let passing = thread::spawn(move || {
            let client = listener.accept().expect("a client").0;
            let server = UnixStream::connect(server).expect("a server");
            thread::scope(|scope| {
                scope.spawn(|| pass(&client, &server, true, &log));
                pass(&server, &client, false, &log);
            });
        });
        Self { path, heard, passing }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file descriptors that have passed until now, in their order.
    pub(crate) fn descriptors(&self) -> Vec<File> {
        let heard = self.heard.lock().expect("not poisoned");
        let all = heard.iter().flat_map(|heard| &heard.descriptors);
        all.map(|fd| fd.try_clone().expect("a copy").into()).collect()
    }

    /// All frames, once both sides have hung up. `length` says how long the first frame of some bytes is.
    pub(crate) fn frames(self, length: fn(&[u8]) -> Option<usize>) -> Vec<Frame> {
        self.passing.join().expect("no panic");
        let mut open: [(Vec<u8>, usize); 2] = Default::default();
        let mut frames = Vec::new();
        for heard in self.heard.lock().expect("not poisoned").iter() {
            let (bytes, descriptors) = &mut open[usize::from(heard.from_client)];
            bytes.extend(&heard.bytes);
            *descriptors += heard.descriptors.len();
            while let Some(len) = length(bytes).filter(|&len| len <= bytes.len()) {
                let rest = bytes.split_off(len);
                let whole = std::mem::replace(bytes, rest);
                let descriptors = std::mem::take(descriptors);
                frames.push(Frame { from_client: heard.from_client, bytes: whole, descriptors });
            }
        }
        assert!(open.iter().all(|(bytes, _)| bytes.is_empty()), "a frame was cut off");
        frames
    }
}

/// A frame as it passed.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) from_client: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: usize,
}

/// Length of the netstring that some bytes begin with.
pub(crate) fn netstring(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.iter().position(|&byte| byte == b':')?;
    Some(digits + 2 + str::from_utf8(&bytes[..digits]).ok()?.parse::<usize>().ok()?)
}

/// Length of the classic frame that some bytes begin with.
pub(crate) fn classic(bytes: &[u8]) -> Option<usize> {
    Some(6 + u32::from_le_bytes(*bytes.first_chunk()?) as usize)
}

/// Passes everything on until the end of the stream.
fn pass(from: &UnixStream, to: &UnixStream, from_client: bool, log: &Mutex<Vec<Heard>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut buffer)];
        let came =
            recvmsg(from, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC).map_or(0, |came| came.bytes);
        let rights = |part| match part {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
            _ => Vec::new(),
        };
        let descriptors: Vec<OwnedFd> = control.drain().flat_map(rights).collect();
        if came == 0 {
            // Whoever has closed hears nothing more.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        // Noted before it is passed on: an answer comes later.
        let bytes = buffer[..came].to_vec();
        let copies: Vec<OwnedFd> = descriptors.iter().map(|fd| fd.try_clone().expect("a copy")).collect();
        log.lock().expect("not poisoned").push(Heard { from_client, bytes, descriptors: copies });
        let beside: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut sent = 0;
        while sent < came {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !beside.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(&beside)));
            }
            let out = [io::IoSlice::new(&buffer[sent..came])];
            match sendmsg(to, &out, &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
    }
}

/// Stores a value of so many bytes, and asks for it if it is to.
pub(crate) fn set(channel: &Channel, bytes: usize) {
    let request = SetRequest { key: KEY.into(), value: value(bytes), ttl_seconds: 0 };
    let set = channel.unary::<_, SetResponse>(&channel.method("/cache.Cache/Set"), Request::new(request));
    assert!(set.wait().expect("a reply").get_ref().success);
}

pub(crate) fn get(channel: &Channel, bytes: usize) {
    let request = Request::new(GetRequest { key: KEY.into() });
    let get = channel.unary::<_, GetResponse>(&channel.method("/cache.Cache/Get"), request);
    assert_eq!(get.wait().expect("a reply").into_inner(), GetResponse { value: value(bytes), found: true });
}

/// A Set of a few bytes, and a Get of a key that there is not; each with metadata there and back.
fn call_with_metadata(channel: &Channel) {
    let mut set = Request::new(SetRequest { key: KEY.into(), value: value(8), ttl_seconds: 0 });
    set.metadata_mut().insert("tenant", "blue").expect("a pair");
    set.metadata_mut().insert_bin("trace-bin", vec![0, 0xff]).expect("a pair");
    let mut get = Request::new(GetRequest { key: "key-1".into() });
    get.metadata_mut().insert("tenant", "blue").expect("a pair");
    let stored = channel.unary::<_, SetResponse>(&channel.method("/cache.Cache/Set"), set).wait();
    let stored = stored.expect("a reply");
    let said = (stored.metadata().get("shard"), stored.trailers().get("stored"));
    assert_eq!(said, (Some("7"), Some("8 bytes")));
    let failed = channel.unary::<_, GetResponse>(&channel.method("/cache.Cache/Get"), get).wait();
    let status = failed.expect_err("no such key");
    assert_eq!((&status.details()[..], status.metadata().get("shard")), (&b"key-1"[..], Some("7")));
}

/// A session: what passed, and memory that lay on the table when the calls were over.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) frames: Vec<Frame>,
    /// The client's and the server's base segment, or the file.
    pub(crate) memory: Vec<Vec<u8>>,
    /// Seals of the first file descriptor.
    pub(crate) seals: u32,
}

pub(crate) fn contents(file: &File) -> Vec<u8> {
    let len = file.metadata().expect("its length").len();
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

/// What the files of a server's clients hold.
fn memory_of(site: &Site) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(site.dir.path().join("files")).expect("its folder");
    files.map(|file| contents(&File::open(file.expect("a file").path()).expect("a file"))).collect()
}

/// A Set and a Get of 64 bytes, and a Set of 200, through the rings. Nothing that lets a region grow: an
/// entry in memory would overtake the proxy's copy of the frame that announces its segment.
fn on_ring() -> Session {
    let site = Site::start(|server, _| server);
    let tap = Tap::before(&site);
    let channel = Channel::connect(tap.path()).wait().expect("a channel");
    set(&channel, 64);
    get(&channel, 64);
    set(&channel, 200);
    drop(channel);
    // Base segment and doorbell of each side.
    let passed = tap.descriptors();
    let memory = vec![contents(&passed[0]), contents(&passed[2])];
    let seals = rustix::fs::fcntl_get_seals(&passed[0]).expect("its seals").bits();
    Session { frames: tap.frames(netstring), memory, seals }
}

/// Two calls with metadata, on either lane that has them.
fn with_metadata(lane: Lane) -> Session {
    let site = Site::start(|server, _| server);
    let tap = Tap::before(&site);
    let channel = Channel::builder().lane(lane).connect(tap.path()).wait().expect("a channel");
    call_with_metadata(&channel);
    drop(channel);
    let passed = tap.descriptors();
    let memory = vec![contents(&passed[0]), contents(&passed[2])];
    Session { frames: tap.frames(netstring), memory, seals: 0 }
}

/// A Set and a Get of 64 bytes over the socket, with memory in a file.
fn on_file() -> Session {
    let site = Site::start(|server, dir| server.file_backing(dir.join("files")));
    let tap = Tap::before(&site);
    let settings = Channel::builder().max_message_size(64 << 10).max_region_bytes(1 << 20);
    let channel = settings.backing(mmap_rpc::Backing::File).connect(tap.path()).wait().expect("a channel");
    set(&channel, 64);
    get(&channel, 64);
    let memory = memory_of(&site);
    drop(channel);
    Session { frames: tap.frames(netstring), memory, seals: 0 }
}

/// A Set and a Get over the socket, of messages for which both regions grow, by a client that allows as many
/// calls as there can be.
fn on_socket() -> Session {
    let site = Site::start(|server, _| server);
    let tap = Tap::before(&site);
    let settings = Channel::builder().max_in_flight(u32::MAX).lane(Lane::Socket);
    let channel = settings.connect(tap.path()).wait().expect("a channel");
    set(&channel, 40_000);
    get(&channel, 40_000);
    drop(channel);
    Session { frames: tap.frames(netstring), memory: Vec::new(), seals: 0 }
}

/// A Set and a Get of 64 bytes in the classic protocol.
fn on_classic() -> Session {
    let site = Site::start(|server, dir| server.classic(dir.join("files")).classic_file_size(4096));
    let tap = Tap::before(&site);
    let settings: ChannelBuilder = Channel::builder().classic_connections(1);
    let channel = settings.connect_classic(tap.path()).wait().expect("a channel");
    let file = || memory_of(&site).remove(0);
    set(&channel, 64);
    let after_set = file();
    get(&channel, 64);
    let memory = vec![after_set, file()];
    drop(channel);
    Session { frames: tap.frames(classic), memory, seals: 0 }
}

pub(crate) static RING: LazyLock<Session> = LazyLock::new(on_ring);
pub(crate) static FILE: LazyLock<Session> = LazyLock::new(on_file);
pub(crate) static SOCKET: LazyLock<Session> = LazyLock::new(on_socket);
pub(crate) static RING_METADATA: LazyLock<Session> = LazyLock::new(|| with_metadata(Lane::Ring));
pub(crate) static SOCKET_METADATA: LazyLock<Session> = LazyLock::new(|| with_metadata(Lane::Socket));
pub(crate) static RING_STREAMS: LazyLock<Session> = LazyLock::new(|| streams::session(Lane::Ring));
pub(crate) static SOCKET_STREAMS: LazyLock<Session> = LazyLock::new(|| streams::session(Lane::Socket));
pub(crate) static CLASSIC: LazyLock<Session> = LazyLock::new(on_classic);
