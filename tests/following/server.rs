//! Requests of a client that writes them as a test wants it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use mmap_rpc::internals::peer::{ClientOffer, Peer, RawEntry, Word};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Code, IncomingCall, Response, Server, ServerBuilder};
use prost::encoding::{DecodeContext, WireType};
use testkit::{LocalServer, PATIENCE};

use crate::watch::{alone, clear_log, eventually, holdings, logged, nothing_left_since};
use crate::{SLOT, TOO_LONG, Written, text};

/// Number of the method that answers with the length of a text.
const LENGTH: u32 = 0;
/// The same of a method whose requests take long to decode.
const SLOW: u32 = 1;
const NAMES: [&str; 2] = ["/following.Site/Length", "/following.Site/Slow"];

/// What takes too long to decode, whatever it is.
#[derive(Debug, Default)]
struct Slow;

impl prost::Message for Slow {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        std::thread::sleep(TOO_LONG);
        prost::encoding::skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {}
}

impl Written {
    /// Another one in the same slot, which has come back.
    fn again(self, peer: &mut Peer, entry: RawEntry) -> Self {
        let Self { len, start } = self;
        let start = start + len;
        peer.push(entry.slot(SLOT, 0, len).fill(0, start));
        Self { len, start }
    }

    /// The rest will not come.
    fn is_given_up(&self, peer: &Peer) {
        peer.set(Word::GivenUp(0), self.start + self.len);
        self.is_whole(peer);
    }
}

#[derive(Default)]
struct Counts {
    /// Calls that the service was asked to serve.
    begun: AtomicUsize,
    /// Requests that its handler was given.
    handled: AtomicUsize,
}

/// Answers with the length of the text, and counts.
struct Counting {
    counts: Arc<Counts>,
    may_begin_anew: bool,
}

impl Service for Counting {
    fn name(&self) -> &'static str {
        "following.Site"
    }

    fn methods(&self) -> &'static [&'static str] {
        &NAMES
    }

    fn may_begin_anew(&self) -> bool {
        self.may_begin_anew
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        self.counts.begun.fetch_add(1, SeqCst);
        if method == SLOW as usize {
            return exchange.unary::<Slow, u64>(|_| {
                self.counts.handled.fetch_add(1, SeqCst);
                Ok(Response::new(0))
            });
        }
        exchange.unary::<String, u64>(|request| {
            self.counts.handled.fetch_add(1, SeqCst);
            Ok(Response::new(request.get_ref().len() as u64))
        })
    }
}

struct Site {
    counts: Arc<Counts>,
    server: LocalServer,
}

impl Site {
    fn new() -> Self {
        Self::with(true, |builder| builder)
    }

    fn with(may_begin_anew: bool, settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let counts = Arc::new(Counts::default());
        let service = Counting { counts: counts.clone(), may_begin_anew };
        let site = Self { counts, server: LocalServer::start(settings(Server::builder()).service(service)) };
        // Until it has all that it needs: tests count what there is.
        site.honest_client_is_served();
        site.counts.begun.store(0, SeqCst);
        site.counts.handled.store(0, SeqCst);
        site
    }

    fn client(&self) -> Peer {
        ClientOffer::honest().unwrap().knock(self.server.path()).unwrap()
    }

    fn begun(&self) -> usize {
        self.counts.begun.load(SeqCst)
    }

    fn handled(&self) -> usize {
        self.counts.handled.load(SeqCst)
    }

    #[track_caller]
    fn honest_client_is_served(&self) {
        let channel = Channel::connect(self.server.path()).wait().unwrap();
        let method = channel.method(NAMES[0]);
        for len in [10, 100_000] {
            let call = channel.unary::<String, u64>(&method, text(len).into());
            assert_eq!(call.timeout(PATIENCE).wait().unwrap().into_inner(), len as u64);
        }
    }
}

/// The reply to the call with that id: its status code.
#[track_caller]
fn code(peer: &mut Peer, call_id: u32) -> u32 {
    let reply = peer.next_entry().expect("a reply");
    assert_eq!(reply.call_id(), call_id);
    reply.head[2]
}

#[test]
fn a_request_is_read_before_all_of_it_has_come() {
    let _alone = alone();
    let site = Site::new();
    let text = text(100_000);
    // Whoever writes at the very moment is in time, whatever else this machine does.
    let until = Instant::now() + PATIENCE;
    loop {
        // Another one each time: after a request that was too late, some are not begun until they are whole.
        let mut peer = site.client();
        let before = (site.begun(), site.handled());
        let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text);
        let soon = Instant::now() + TOO_LONG;
        while site.begun() == before.0 && Instant::now() < soon {
            std::hint::spin_loop();
        }
        let early = site.begun() > before.0;
        written.is_whole(&peer);
        assert_eq!(code(&mut peer, 1), 0);
        assert_eq!(site.handled(), before.1 + 1);
        if early && site.begun() == before.0 + 1 {
            break;
        }
        assert!(Instant::now() < until, "no request was read while it came");
    }
    site.honest_client_is_served();
}

#[test]
fn a_request_that_keeps_the_server_waiting_is_handled_once() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = site.client();
    let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(100_000));
    written.stalls(&peer);
    assert!(eventually(|| site.begun() == 1), "nobody has begun");
    assert_eq!(site.handled(), 0);
    site.honest_client_is_served();
    let (begun, handled) = (site.begun(), site.handled());
    written.is_whole(&peer);
    assert_eq!(code(&mut peer, 1), 0);
    assert_eq!((site.begun(), site.handled()), (begun + 1, handled + 1));
    // After such a one, no other is read so for a while.
    let written = written.again(&mut peer, RawEntry::request(2, LENGTH));
    written.stalls(&peer);
    assert_eq!(site.begun(), begun + 1);
    written.is_whole(&peer);
    assert_eq!(code(&mut peer, 2), 0);
}

#[test]
fn a_service_that_has_not_said_so_begins_a_call_once() {
    let _alone = alone();
    let site = Site::with(false, |builder| builder);
    let mut peer = site.client();
    let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(100_000));
    written.stalls(&peer);
    assert_eq!(site.begun(), 0);
    written.is_whole(&peer);
    assert_eq!(code(&mut peer, 1), 0);
    assert_eq!((site.begun(), site.handled()), (1, 1));
}

#[test]
fn interceptors_see_a_call_once_and_when_it_has_come() {
    let _alone = alone();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let site = Site::with(true, |builder| {
        builder.interceptor(move |_: &mut IncomingCall| {
            counter.fetch_add(1, SeqCst);
            Ok(())
        })
    });
    seen.store(0, SeqCst);
    let mut peer = site.client();
    let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(100_000));
    written.stalls(&peer);
    assert_eq!((seen.load(SeqCst), site.begun()), (0, 0));
    written.is_whole(&peer);
    assert_eq!(code(&mut peer, 1), 0);
    assert_eq!((seen.load(SeqCst), site.begun()), (1, 1));
}

#[test]
fn a_deadline_that_passes_meanwhile_counts_from_the_beginning() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = site.client();
    let mut request = RawEntry::request(1, LENGTH);
    request.head[3] = 1000;
    let written = Written::text(&mut peer, request, &text(100_000));
    assert!(eventually(|| site.begun() == 1), "nobody has begun");
    std::thread::sleep(TOO_LONG);
    written.is_whole(&peer);
    assert_eq!(code(&mut peer, 1), Code::DeadlineExceeded as u32);
    assert_eq!(site.handled(), 0);
}

#[test]
fn no_handler_runs_if_the_deadline_passes_while_its_request_is_decoded() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = site.client();
    let text = text(100_000);
    // All of it is there when it is announced.
    peer.set(Word::Level(0), 2 * text.len() as u64);
    let mut request = RawEntry::request(1, SLOW);
    request.head[3] = 1000;
    Written::text(&mut peer, request, &text);
    assert_eq!(code(&mut peer, 1), Code::DeadlineExceeded as u32);
    assert_eq!((site.begun(), site.handled()), (1, 0));
}

#[test]
fn what_does_not_decode_fails_its_call_alone() {
    let _alone = alone();
    let site = Site::new();
    let mut good = prost::Message::encode_to_vec(&text(100_000));
    let stalls: [fn(&Written, &Peer); 2] = [|_, _| {}, Written::stalls];
    // In its first byte, in the middle of the text, and behind all of it.
    for at in [0, 50_000, good.len() - 1] {
        for stalls in stalls {
            let was = std::mem::replace(&mut good[at], 0xff);
            let mut peer = site.client();
            let written = Written::announce(&mut peer, RawEntry::request(1, LENGTH), &good);
            stalls(&written, &peer);
            written.is_whole(&peer);
            assert_eq!(code(&mut peer, 1), Code::Internal as u32, "byte {at}");
            good[at] = was;
        }
    }
    assert_eq!(site.handled(), 0);
    site.honest_client_is_served();
}

#[test]
fn one_that_is_given_up_or_left_is_no_call() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for leaves in [false, true] {
        let begun = site.begun();
        let mut peer = site.client();
        let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(100_000));
        written.is_there(&peer, 70_000);
        assert!(eventually(|| site.begun() == begun + 1), "nobody has begun");
        if leaves {
            peer.vanish();
        } else {
            written.is_given_up(&peer);
            peer.push(RawEntry::request(2, LENGTH));
            assert_eq!(code(&mut peer, 2), 0);
        }
    }
    assert_eq!(site.handled(), 1, "of an empty text");
    site.honest_client_is_served();
    nothing_left_since(before);
}

#[test]
fn a_level_that_falls_under_a_decoder_is_a_violation() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    clear_log();
    let mut peer = site.client();
    let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(100_000));
    written.is_there(&peer, 50_000);
    assert!(eventually(|| site.begun() == 1), "nobody has begun");
    std::thread::sleep(TOO_LONG);
    written.is_there(&peer, 40_000);
    assert!(peer.is_hung_up_on(), "the connection stays");
    logged(&["bad fill", "its level fell", peer.connection_id()]);
    drop(peer);
    assert_eq!(site.handled(), 0);
    site.honest_client_is_served();
    nothing_left_since(before);
}

#[test]
fn one_that_comes_byte_by_byte_holds_nobody_up_for_long() {
    let _alone = alone();
    // Slower than its decoder, and as fast as it goes.
    for (len, pause) in [(100_000, Some(Duration::from_micros(50))), (1_900_000, None)] {
        let site = Site::new();
        let mut peer = site.client();
        let written = Written::text(&mut peer, RawEntry::request(1, LENGTH), &text(len));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let dripping = std::thread::spawn(move || {
            let there = (1..written.len).take_while(|_| !stopped.load(SeqCst));
            let all = there.fold(1, |_, bytes| {
                written.is_there(&peer, bytes);
                pause.into_iter().for_each(std::thread::sleep);
                bytes + 1
            });
            written.is_whole(&peer);
            assert_eq!(code(&mut peer, 1), 0);
            all == written.len
        });
        assert!(eventually(|| site.begun() == 1), "nobody has begun");
        site.honest_client_is_served();
        stop.store(true, SeqCst);
        assert!(!dripping.join().unwrap(), "others were served only after all of it had come");
        assert_eq!(site.handled(), 3);
    }
}
