//! Promise: a server serves the clients of the published protocol byte for byte, and none of the requests
//! that brought the published server down, or made it lie, does more than fail. A client calls the servers of
//! that protocol byte for byte, and none of the answers that it could be given does more than fail.

#[path = "classic/raw.rs"]
mod raw;

#[path = "classic/client.rs"]
mod client;

#[path = "classic/fake.rs"]
mod fake;

#[path = "classic/hostile.rs"]
mod hostile;

#[path = "classic/lies.rs"]
mod lies;

#[path = "classic/published.rs"]
mod published;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Server, ServerBuilder, Status};
use raw::{Raw, call, field, request, unhex, varint};
use testkit::echo::{LocalServer, RAW_ECHO};
use testkit::{Child, Parent, eventually, noise};

const ECHO: &str = "/testkit.Echo/Echo";
const MIB: u64 = 1 << 20;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("classic", serve)]);
}

fn serve(parent: &Parent) {
    let builder = Server::builder().classic(parent.argument("files"));
    let server = testkit::echo::serve(builder, <_>::default()).bind(parent.argument("socket")).unwrap();
    parent.say("listening");
    server.run().unwrap();
}

/// A server in this process, and the folder of its files.
pub(crate) struct Site {
    pub(crate) server: LocalServer,
    pub(crate) files: tempfile::TempDir,
}

impl Site {
    pub(crate) fn with(builder: ServerBuilder) -> Self {
        let files = tempfile::tempdir().unwrap();
        Self { server: LocalServer::start(builder.classic(files.path())), files }
    }

    pub(crate) fn new() -> Self {
        Self::with(Server::builder())
    }

    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.server.path())
    }

    pub(crate) fn count(&self) -> usize {
        fs::read_dir(self.files.path()).unwrap().count()
    }

    /// Another client is served as if nothing had happened.
    #[track_caller]
    pub(crate) fn assert_well(&self) {
        assert_echo(&mut self.connect());
    }
}

#[track_caller]
pub(crate) fn assert_echo(raw: &mut Raw) {
    let message = field(1, &noise(1000, 1));
    assert!(raw.call(ECHO, &message).unwrap() == message);
}

/// A cache whose messages are those of the captures.
fn cache() -> ServerBuilder {
    let values = std::sync::Arc::new(Mutex::new(HashMap::<Vec<u8>, Vec<u8>>::new()));
    let stored = values.clone();
    let builder = Server::builder().raw("/cache.Cache/Set", move |request, _| {
        let message = request.into_inner().to_vec();
        let (key, value) = message.split_at(2 + usize::from(message[1]));
        stored.lock().unwrap().insert(key.to_vec(), value[1..].to_vec());
        Ok(b"\x08\x01".into())
    });
    builder.raw("/cache.Cache/Get", move |request, _| {
        let found = values.lock().unwrap().get(&request.into_inner().to_vec()).cloned();
        Ok(found.map_or(b"\x10\x00".to_vec(), |value| [b"\x0a", &value[..], b"\x10\x01"].concat()).into())
    })
}

/// The captured id, which ours stands in for.
pub(crate) const ID: &str = "3352512f-5d62-4ff6-833a-6c40c2562d84";

fn with_id(captured: &str, id: &str) -> Vec<u8> {
    let (mut bytes, from) = (unhex(captured), ID.as_bytes());
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + from.len()].copy_from_slice(id.as_bytes());
    }
    bytes
}

#[test]
fn a_captured_session_is_answered_byte_for_byte() {
    let site = Site::with(cache());
    let mut raw = Raw::socket(site.server.path());
    raw.send(&unhex(
        "2d0000003a0a2b747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e436f6e6e656374526571756
         573742c",
    ));
    let answer = raw::Reply::parse(&raw.receive_frame().unwrap());
    let [_, id, path, ..] = answer.texts;
    assert_eq!(Path::new(&path).parent().unwrap(), site.files.path().canonicalize().unwrap());
    (raw.id, raw.path) = (id.clone(), path.into());
    raw.file = Some(fs::OpenOptions::new().read(true).write(true).open(&raw.path).unwrap());

    let set = "0a056b65792d3012406b74766b6a654c754175795a5434716f71634669573736664171696f4273504663344e5
               179706f53494b
               2b587372653365673137612f52697144536575555244";
    let got =
        "0a406b74766b6a654c754175795a5434716f71634669573736664171696f4273504663344e5179706f53494b2b5873726533
               65673137612f526971445365755552441001";
    let steps = [
        (
            set,
            "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e5250435265717565737
             4123a0a24
             33333532353132662d356436322d346666362d383333612d36633430633235363264383412102f63616368652e4
             3616368652f
             53657418492c",
            "3a0000003a0a2433333532353132662d356436322d346666362d383333612d366334306332353632643834
             12102f63616368652e43616368652f53657418022c",
            "0801",
        ),
        (
            "0a056b65792d30",
            "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e5250435265717565737
             4123a0a24
             33333532353132662d356436322d346666362d383333612d36633430633235363264383412102f63616368652e4
             3616368652f
             47657418072c",
            "3a0000003a0a2433333532353132662d356436322d346666362d383333612d366334306332353632643834
             12102f63616368652e43616368652f47657418442c",
            got,
        ),
    ];
    for (message, asked, answered, reply) in steps {
        raw.write(&unhex(message));
        raw.send(&with_id(asked, &id));
        assert_eq!(raw::frame(&raw.receive_frame().unwrap()), with_id(answered, &id));
        let reply = unhex(reply);
        assert_eq!(raw.read(reply.len() as u64), reply);
    }
    let farewell = "580000003a0a2e747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e446973636f6e
                    6e6563745265
                    717565737412260a2433333532353132662d356436322d346666362d383333612d366334306332353632
                    6438342c";
    raw.send(&with_id(farewell, &id));
    assert_eq!(raw::frame(&raw.receive_frame().unwrap()), unhex("000000003a2c"));
    assert_eq!(site.count(), 0);
}

#[test]
fn what_is_not_found_is_answered_byte_for_byte() {
    let site = Site::with(cache());
    let mut raw = site.connect();
    raw.send(&unhex(
        "450000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374121
         a0a046e6f7065
         12102f63616368652e43616368652f47657418002c",
    ));
    let unknown_id =
        "360000003a0a046e6f706512102f63616368652e43616368652f4765741800221a636f6e6e656374696f6e206e6f7420
                      666f756e643a206e6f70652c";
    assert_eq!(raw::frame(&raw.receive_frame().unwrap()), unhex(unknown_id));
    let id = raw.id.clone();
    raw.send(&call(&id, "/cache.Cache/Del", 0));
    let unknown_method = "5e0000003a0a2433333532353132662d356436322d346666362d383333612d3663343063323536
                          32643834
                          12102f63616368652e43616368652f44656c180022226d6574686f64206e6f7420666f756e643a
                          202f63616368652e
                          43616368652f44656c2c";
    assert_eq!(raw::frame(&raw.receive_frame().unwrap()), with_id(unknown_method, &id));
    raw.send(&unhex(
        "380000003a0a2e747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e446973636f6e6e656374526
         571756573
         7412060a046e6f70652c",
    ));
    assert_eq!(raw.receive_frame().unwrap(), b"");
    // A request of no bytes at all: found = false, explicitly.
    assert_eq!(raw.call("/cache.Cache/Get", b"").unwrap(), b"\x10\x00");
}

#[test]
fn files_are_their_owners_alone_and_go_with_their_connections() {
    let site = Site::new();
    let (mut polite, rude, half) = (site.connect(), site.connect(), site.connect());
    let found = fs::metadata(&polite.path).unwrap();
    assert_eq!((found.mode() & 0o7777, found.len()), (0o600, 8 * MIB));
    assert_eq!(polite.path.file_name().unwrap().to_str().unwrap(), format!("mmap-rpc-{}.mmap", polite.id));
    assert_eq!(site.count(), 3);
    // As the published client does: a farewell, and away without reading the answer.
    let id = polite.id.clone();
    polite.send(&request("DisconnectRequest", &field(1, id.as_bytes())));
    drop(polite);
    eventually("the file goes with the farewell", || site.count() == 2);
    drop(rude);
    eventually("the file goes with the socket", || site.count() == 1);
    half.socket.shutdown(std::net::Shutdown::Write).unwrap();
    eventually("the file goes with the end of the stream", || site.count() == 0);
    let _kept = site.connect();
    assert_eq!(site.count(), 1);
    let Site { server, files } = site;
    drop(server);
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0, "the files go with the server");
}

#[test]
fn a_killed_servers_files_are_swept_and_a_living_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    let start = |socket: &str| {
        let socket = dir.path().join(socket);
        let arguments = [("socket", socket.to_str().unwrap()), ("files", files.to_str().unwrap())];
        let server = Child::start("classic", &arguments);
        server.expect("listening");
        (server, socket)
    };
    let count = || fs::read_dir(&files).unwrap().count();
    let (mut killed, socket) = start("first");
    let orphans = [Raw::connect(&socket), Raw::connect(&socket)];
    let (_living, socket) = start("second");
    let mut alive = Raw::connect(&socket);
    fs::write(files.join("mmap-rpc-of-somebody-else.mmap"), "precious").unwrap();
    assert_eq!(count(), 4);
    killed.kill();
    drop(killed);
    assert_eq!(count(), 4);
    let _third = start("first");
    assert!(orphans.iter().all(|orphan| !orphan.path.exists()));
    assert_eq!(count(), 2);
    assert_echo(&mut alive);
}

#[test]
fn a_socket_has_one_connection_at_a_time() {
    let site = Site::new();
    let mut raw = site.connect();
    let error = raw.open().unwrap_err();
    assert!(error.contains("has a connection already") && error.contains("disconnect it first"), "{error}");
    assert_eq!(site.count(), 1);
    assert_echo(&mut raw);
    let first = raw.id.clone();
    raw.send(&request("DisconnectRequest", &field(1, first.as_bytes())));
    assert_eq!(raw.receive_frame().unwrap(), b"");
    raw.open().unwrap();
    assert_ne!(raw.id, first);
    assert_echo(&mut raw);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_with_the_path() {
    let site = Site::new();
    fs::remove_dir(site.files.path()).unwrap();
    let error = Raw::socket(site.server.path()).open().unwrap_err();
    assert!(
        error.contains("open") && error.contains("mmap-rpc-") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn a_message_fills_the_file_and_no_more() {
    let site = Site::new();
    let mut raw = site.connect();
    let message = noise(8 << 20, 2);
    assert!(raw.call(RAW_ECHO, &message).unwrap() == message);
    for size in [8 * MIB + 1, 1 << 63, u64::MAX] {
        let reply = raw.announce(ECHO, size);
        assert_eq!(
            reply.error(),
            format!(
                "a request of {size} bytes exceeds the file of 8388608 bytes; raise classic_file_size on the \
                 server"
            )
        );
    }
    // Field 1: the length.
    let make = |length| [vec![0x08], varint(length)].concat();
    let error = raw.call("/testkit.Echo/Make", &make(8 * MIB)).unwrap_err();
    assert!(error.contains("RESOURCE_EXHAUSTED: a reply of 8388613 bytes"), "{error}");
    assert!(error.contains("file of 8388608 bytes; raise classic_file_size"), "{error}");
    assert_eq!(raw.call("/testkit.Echo/Make", &make(8 * MIB - 5)).unwrap().len(), 8 << 20);
    assert_echo(&mut raw);
}

#[test]
fn the_servers_own_limits_hold() {
    let site = Site::with(Server::builder().max_message_size(1000).classic_file_size(10_000));
    let mut raw = site.connect();
    assert_eq!(fs::metadata(&raw.path).unwrap().len(), 10_000);
    let error = raw.call(RAW_ECHO, &noise(1001, 3)).unwrap_err();
    assert!(error.contains("1001 bytes") && error.contains("max_message_size (1000)"), "{error}");
    assert_eq!(raw.call(RAW_ECHO, &noise(1000, 3)).unwrap(), noise(1000, 3));
}

/// How handlers fail, inline and on a pool.
#[test]
fn a_failure_is_an_error_text_with_the_code_in_it() {
    for handlers in [Handlers::Inline, Handlers::Pool(2)] {
        let builder = Server::builder().handlers(handlers);
        let site = Site::with(builder.raw("/a.B/Busy", |_, _| Err(Status::unavailable("come again"))));
        let mut raw = site.connect();
        assert_eq!(raw.call("/a.B/Busy", b"").unwrap_err(), "handler error: UNAVAILABLE: come again");
        let error = raw.call("/testkit.Echo/Panic", &field(1, b"boom")).unwrap_err();
        assert_eq!(error, "handler error: INTERNAL: the handler panicked: boom");
        // Neither a message that does not parse nor one with text that is not UTF-8 is served.
        for bad in [b"\x0f\xff\xff".to_vec(), field(1, b"\xff")] {
            let error = raw.call("/testkit.Echo/Panic", &bad).unwrap_err();
            assert!(error.starts_with("handler error: INTERNAL: the request does not decode"), "{error}");
        }
        let long = [vec![0x08, 5], field(2, &[b'x'; 9000])].concat();
        assert_eq!(raw.call("/testkit.Echo/Fail", &long).unwrap_err().len(), 4096);
        assert_echo(&mut raw);
    }
}

#[test]
fn requests_behind_each_other_are_served_one_after_the_other() {
    for handlers in [Handlers::Inline, Handlers::Pool(3)] {
        let site = Site::with(Server::builder().handlers(handlers));
        let mut raw = site.connect();
        let message = field(1, b"text");
        raw.write(&message);
        // More than a turn's worth; every reply is the next request.
        let one = call(&raw.id, ECHO, message.len() as u64);
        raw.send(&one.repeat(500));
        for _ in 0..500 {
            assert_eq!(raw.receive().size, Some(message.len() as u64));
        }
        assert_eq!(raw.read(message.len() as u64), message);
    }
}

#[test]
fn a_server_that_ends_answers_the_call_that_runs() {
    let mut site = Site::with(Server::builder().handlers(Handlers::Pool(1)));
    let mut raw = site.connect();
    raw.write(&[0x08, 100]);
    raw.send(&call(&raw.id.clone(), "/testkit.Echo/Sleep", 2));
    eventually("the handler runs", || site.server.service.sleeping() == 1);
    site.server.shutdown.shutdown();
    assert_eq!(raw.receive().error(), "");
    site.server.join().unwrap();
    assert!(raw.is_hung_up_on());
    assert_eq!(site.count(), 0);
}

#[test]
fn a_server_without_the_protocol_says_so() {
    let server = LocalServer::default_settings();
    let error = Raw::socket(server.path()).open().unwrap_err();
    assert!(error.contains("does not serve the classic protocol; ServerBuilder::classic"), "{error}");
}

#[test]
fn both_kinds_of_clients_count_as_connections() {
    let site = Site::with(Server::builder().max_connections(1));
    for _ in 0..3 {
        let mut raw = Raw::socket(site.server.path());
        eventually("the client before is gone", || {
            raw = Raw::socket(site.server.path());
            raw.open().is_ok()
        });
        let error = Raw::socket(site.server.path()).open().unwrap_err();
        assert!(error.contains("max_connections"), "{error}");
        let error = Channel::connect(site.server.path()).wait().unwrap_err().to_string();
        assert!(error.contains("max_connections"), "{error}");
        assert_echo(&mut raw);
    }
    eventually("there is room", || Channel::connect(site.server.path()).wait().is_ok());
}

#[test]
fn a_directory_of_others_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let bind = |files: &Path| {
        let builder = testkit::echo::serve(Server::builder().classic(files), <_>::default());
        builder.bind(dir.path().join("socket")).unwrap_err().to_string()
    };
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = bind(&open);
    assert!(error.contains("classic(): ") && error.contains("mode 777"), "{error}");
    assert!(error.contains("chmod 700"), "{error}");
    let error = bind(&dir.path().join("no/such"));
    assert!(error.contains("classic(): ") && error.contains("no/such"), "{error}");
    assert!(!dir.path().join("socket").exists());
}
