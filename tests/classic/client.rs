//! Our own client, against our own server in classic mode.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::__private::prost::bytes::Bytes;
use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, ChannelBuilder, Code, Pending, Server};
use testkit::echo::{GARBAGE, RAW_ECHO, RAW_GARBAGE};
use testkit::proto::{Blob, EchoClient, Empty, FailRequest, PanicRequest, SleepRequest};
use testkit::{Child, PATIENCE, eventually, noise, proc};

use crate::{MIB, Site};

impl Site {
    fn client_with(&self, builder: ChannelBuilder) -> EchoClient {
        EchoClient::new(builder.connect_classic(self.server.path()).wait().unwrap())
    }

    fn client(&self) -> EchoClient {
        self.client_with(Channel::builder())
    }

    /// Handlers that run side by side.
    fn pooled(threads: usize) -> Self {
        Self::with(Server::builder().handlers(Handlers::Pool(threads)))
    }
}

#[track_caller]
fn assert_echoes(client: &EchoClient, len: usize) {
    let data = noise(len, len as u64);
    let reply = client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap();
    assert!(reply.get_ref().data == data, "{len} bytes");
}

fn sleep(milliseconds: u32) -> SleepRequest {
    SleepRequest { milliseconds }
}

#[track_caller]
fn finish(pending: Vec<Pending<'_, Empty>>) {
    for call in pending {
        call.wait().unwrap();
    }
}

/// A server in another process, and where it listens.
struct Elsewhere {
    child: Child,
    dir: tempfile::TempDir,
}

impl Elsewhere {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { child: Self::serve(&dir), dir }
    }

    fn serve(dir: &tempfile::TempDir) -> Child {
        let [socket, files] = ["socket", "files"].map(|name| dir.path().join(name));
        let arguments = [("socket", socket.to_str().unwrap()), ("files", files.to_str().unwrap())];
        let child = Child::start("classic", &arguments);
        child.expect("listening");
        child
    }

    fn restart(&mut self) {
        self.child = Self::serve(&self.dir);
    }

    fn channel(&self) -> Channel {
        Channel::connect_classic(self.dir.path().join("socket")).wait().unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("files")).unwrap().count()
    }
}

#[test]
fn messages_of_all_lengths_go_to_another_process_and_back() {
    let site = Elsewhere::start();
    let client = EchoClient::new(site.channel());
    for len in [0, 1, 100, 4095, 16 << 10, 65_536, 65_537, 1 << 20, 5 << 20, (8 << 20) - 5] {
        assert_echoes(&client, len);
    }
    let channel = site.channel();
    assert_eq!(channel.peer().pid, site.child.pid());
    let echo = channel.method(RAW_ECHO);
    for len in [0, 3, 5000, 8 << 20] {
        let data = noise(len, 1);
        assert!(channel.raw(&echo, &data[..]).timeout(PATIENCE).wait().unwrap().to_vec() == data);
        let mut loan = channel.loan(len).unwrap();
        loan.copy_from_slice(&data);
        assert!(channel.raw(&echo, loan).wait().unwrap().into_bytes() == data);
    }
    assert_eq!(site.files(), 2, "a file for each of the channels, which have one call at a time");
}

#[test]
fn failures_come_back_as_the_server_meant_them() {
    let site = Site::pooled(2);
    let client = site.client();
    for code in 1..=16 {
        for text in ["", "no such key: \"k\"\nsecond line", "日本語"] {
            let request = FailRequest { code, text: text.to_owned() };
            let status = client.fail(request).timeout(PATIENCE).wait().unwrap_err();
            assert_eq!((status.code().as_u32(), status.message()), (code, text));
        }
    }
    let status = client.fail(FailRequest { code: 0, text: "fine".into() }).wait().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "fine"));
    let status = client.panic(PanicRequest { text: "boom".into() }).wait().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "the handler panicked: boom"));
    assert_echoes(&client, 1000);
    assert_eq!(site.count(), 1, "one connection survived all of that");
}

#[test]
fn methods_and_messages_fail_as_on_other_channels() {
    let site = Site::new();
    let channel = Channel::connect_classic(site.server.path()).wait().unwrap();
    let missing = channel.method("/testkit.Echo/Nothing");
    let status = channel.raw(&missing, b"x").wait().unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("/testkit.Echo/Nothing"), "{status}");
    let status = channel.raw(&channel.method("/testkit.Echo/Echo"), GARBAGE).wait().unwrap_err();
    assert!(status.code() == Code::Internal && status.message().contains("request"), "{status}");
    let call = channel.unary::<Blob, Blob>(&channel.method(RAW_GARBAGE), Blob::default().into());
    let status = call.wait().unwrap_err();
    assert!(status.code() == Code::Internal && status.message().contains("reply"), "{status}");
    let other = Channel::connect_classic(site.server.path()).wait().unwrap();
    let status = other.raw(&missing, b"x").wait().unwrap_err();
    assert!(
        status.code() == Code::InvalidArgument && status.message().contains("another channel"),
        "{status}"
    );
    let ring = Channel::connect(site.server.path()).wait().unwrap();
    let loan = ring.loan(1000).unwrap();
    let status = other.raw(&other.method(RAW_ECHO), loan).wait().unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("loan"), "{status}");
    let long: &'static str = "/x".repeat(40_000).leak();
    let status = other.raw(&other.method(long), b"x").wait().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_echoes(&EchoClient::new(other), 1000);
}

#[test]
fn what_does_not_fit_is_never_sent() {
    let site = Site::new();
    let channel = Channel::connect_classic(site.server.path()).wait().unwrap();
    let echo = channel.method(RAW_ECHO);
    let status = channel.raw(&echo, vec![0; (8 << 20) + 1]).wait().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let text = status.message();
    assert!(text.contains("8388609 bytes does not fit") && text.contains("classic_file_size"), "{text}");
    assert_eq!(channel.loan((8 << 20) + 1).unwrap_err().code(), Code::ResourceExhausted);
    let client = EchoClient::new(channel);
    let status = client.echo(Blob { data: vec![0; 8 << 20].into() }).wait().unwrap_err();
    assert!(status.message().contains("8388613 bytes does not fit"), "{status}");
    assert_eq!(site.server.service.begun(), 0);
    // A reply that does not fit is the server's to refuse.
    let status = client.make(testkit::proto::MakeRequest { length: 8 * MIB, seed: 1 }).wait().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let builder = Channel::builder().max_message_size(1000).connect_timeout(Duration::MAX);
    let small = site.client_with(builder);
    let status = small.echo(Blob { data: vec![0; 1000].into() }).wait().unwrap_err();
    assert!(status.message().contains("request of 1003 bytes exceeds max_message_size (1000)"), "{status}");
    let status = small.make(testkit::proto::MakeRequest { length: 1000, seed: 1 }).wait().unwrap_err();
    assert!(status.message().contains("reply of 1003 bytes exceeds max_message_size (1000)"), "{status}");
    assert_echoes(&small, 900);
}

#[test]
fn many_threads_share_few_connections() {
    let site = Site::pooled(4);
    let client = site.client_with(Channel::builder().classic_connections(3));
    thread::scope(|scope| {
        for thread in 0..12 {
            let client = &client;
            scope.spawn(move || {
                for call in 0..60 {
                    assert_echoes(client, [10, 3000, 70_000][call % 3] + thread);
                }
            });
        }
    });
    assert_eq!(site.count(), 3);
}

#[test]
fn connections_are_opened_as_calls_need_them() {
    let site = Site::pooled(4);
    let client = site.client();
    assert_eq!(site.count(), 1);
    for call in 0..20 {
        assert_echoes(&client, call);
    }
    assert_eq!(site.count(), 1);
    let pending: Vec<_> = (0..4).map(|_| client.sleep(sleep(50)).start().unwrap()).collect();
    assert_eq!(site.count(), 4);
    finish(pending);
    assert_echoes(&client, 10);
    assert_eq!(site.count(), 4);
}

#[test]
fn calls_under_way_find_their_own_replies_in_any_order() {
    let site = Site::pooled(3);
    let channel = Channel::connect_classic(site.server.path()).wait().unwrap();
    let echo = channel.method(RAW_ECHO);
    let data: Vec<_> = (0..20).map(|call| noise(3000, call)).collect();
    let start = |data: &Bytes| channel.raw(&echo, data.clone()).timeout(PATIENCE).start().unwrap();
    let pending: Vec<_> = data.iter().map(start).collect();
    for (call, data) in pending.into_iter().zip(&data).rev() {
        assert!(call.wait().unwrap().to_vec() == *data);
    }
}

#[test]
fn who_finds_all_connections_busy_waits_for_one_or_for_the_deadline() {
    let site = Site::pooled(2);
    let client = site.client_with(Channel::builder().classic_connections(1));
    let held = client.sleep(sleep(0)).start().unwrap();
    let begun = Instant::now();
    let timeout = Duration::from_millis(60);
    let status = client.count(Empty {}).timeout(timeout).wait().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status.message().contains("all 1 connections") && status.message().contains("classic_connections")
    );
    assert!(begun.elapsed() >= timeout && begun.elapsed() < PATIENCE / 2);
    let (sender, answered) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(client.count(Empty {}).wait().is_ok()));
        assert!(answered.recv_timeout(Duration::from_millis(30)).is_err(), "no connection is free yet");
        held.wait().unwrap();
        assert!(answered.recv_timeout(PATIENCE).unwrap());
    });
    assert_eq!(site.count(), 1);
}

#[test]
fn a_dropped_call_frees_its_place_and_reaches_the_server() {
    let site = Site::pooled(1);
    let client = site.client_with(Channel::builder().classic_connections(1));
    let dropped = client.sleep(sleep(100)).start().unwrap();
    eventually("the handler runs", || site.server.service.sleeping() == 1);
    drop(dropped);
    eventually("its file goes before its handler ends", || site.count() == 0);
    assert_eq!(site.server.service.sleeping(), 1);
    assert_echoes(&client, 1000);
    assert_eq!(site.count(), 1);
}

#[test]
fn a_deadline_ends_a_call_and_the_next_one_is_served() {
    let site = Site::pooled(2);
    let client = site.client_with(Channel::builder().classic_connections(1));
    let begun = Instant::now();
    let timeout = Duration::from_millis(50);
    let status = client.sleep(sleep(400)).timeout(timeout).wait().unwrap_err();
    let took = begun.elapsed();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(took >= timeout && took < Duration::from_millis(300), "{took:?}");
    // The reply that comes too late is not taken for the next one's.
    assert_echoes(&client, 1000);
    let begun = site.server.service.begun();
    assert_eq!(
        client.echo(Blob::default()).timeout(Duration::ZERO).wait().unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert_eq!((site.server.service.begun(), site.count()), (begun, 1), "it was never sent");
    assert_echoes(&client, 1000);
    assert_eq!(site.count(), 1);
}

#[test]
fn a_closed_channel_leaves_no_file() {
    let site = Site::pooled(4);
    let client = site.client();
    let pending: Vec<_> = (0..4).map(|_| client.sleep(sleep(1)).start().unwrap()).collect();
    finish(pending);
    assert_eq!(site.count(), 4);
    let clone = client.clone();
    drop(client);
    assert_echoes(&clone, 10);
    drop(clone);
    eventually("the files go", || site.count() == 0);
}

#[test]
fn a_server_that_was_started_anew_is_served_by() {
    let mut site = Elsewhere::start();
    let client = EchoClient::new(site.channel());
    let pending: Vec<_> = (0..3).map(|_| client.sleep(sleep(1)).start().unwrap()).collect();
    finish(pending);
    let running = client.sleep(sleep(60_000)).start().unwrap();
    site.child.kill();
    let status = running.wait().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("hung up before it answered /testkit.Echo/Sleep"), "{status}");
    // The sockets of a killed process go one after the other.
    eventually("nobody listens", || {
        let status = client.count(Empty {}).wait().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        status.message().contains("is the server running")
    });
    site.restart();
    for len in [10, 100_000] {
        assert_echoes(&client, len);
    }
    assert_eq!(client.count(Empty {}).wait().unwrap().get_ref().begun, 2);
}

#[test]
fn a_server_that_ends_in_order_answers_what_it_was_sent() {
    let mut site = Site::pooled(1);
    let client = site.client();
    let pending = client.sleep(sleep(100)).start().unwrap();
    eventually("the handler runs", || site.server.service.sleeping() == 1);
    site.server.shutdown.shutdown();
    pending.wait().unwrap();
    site.server.join().unwrap();
    assert_eq!(client.count(Empty {}).wait().unwrap_err().code(), Code::Unavailable);
}

#[test]
fn a_server_without_the_protocol_or_none_at_all_is_an_error_that_says_so() {
    let server = testkit::LocalServer::default_settings();
    let error = Channel::connect_classic(server.path()).wait().unwrap_err().to_string();
    assert!(error.contains("does not serve the classic protocol; ServerBuilder::classic"), "{error}");
    let path = server.path().to_owned();
    drop(server);
    let error = Channel::connect_classic(path).wait().unwrap_err().to_string();
    assert!(error.contains("is the server running"), "{error}");
}

#[test]
fn replies_are_kept_without_holding_their_connection() {
    let site = Site::new();
    let client = site.client_with(Channel::builder().classic_connections(1));
    let echo = |seed| client.echo(Blob { data: noise(200_000, seed) }).wait().unwrap().into_inner().data;
    let kept: Vec<_> = (0..5).map(echo).collect();
    assert!(kept.iter().zip(0..).all(|(data, seed)| *data == noise(200_000, seed)));
}

#[test]
fn nothing_is_left_open() {
    let site = Site::new();
    let files = site.files.path().canonicalize().unwrap();
    let open = || {
        let all = proc::descriptors(std::process::id());
        all.iter().filter(|target| target.starts_with(files.to_str().unwrap())).count()
    };
    let clients: Vec<_> = (0..5).map(|_| site.client()).collect();
    clients.iter().for_each(|client| assert_echoes(client, 10));
    assert_eq!(open(), 10, "both sides of each connection");
    let maps = proc::maps(std::process::id());
    assert!(!maps.iter().any(|line| line.contains(files.to_str().unwrap())), "nothing is ever mapped");
    drop(clients);
    eventually("both sides close", || open() == 0);
}
