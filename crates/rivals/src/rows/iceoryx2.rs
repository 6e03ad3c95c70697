//! Request and response by iceoryx2: messages are filled and read in shared memory, where they stay.
//!
//! A side that waits either polls without ever sleeping, or sleeps in a listener until the other side rings,
//! which takes an event service for each direction. Whoever sleeps looks for messages until there are none,
//! then waits for the bell; whoever sends rings once for each message.
//!
//! Messages are loaned with as many bytes as the bench's longest, unfilled and aligned to a cache line. The
//! service has room for what the bench has under way and no more: 64 requests where messages are small, one
//! where they are large, because iceoryx2 sets memory aside for all that could be. The defaults apply instead
//! of the user's own configuration, warnings are silent, and termination signals stay the bench's.

use std::collections::VecDeque;
use std::hint;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use iceoryx2::node::Node;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client as Sender;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::{
    Alignment, Config, LogLevel, NodeBuilder, ServiceName, SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::request_mut_uninit::RequestMutUninit;
use mmap_rpc_cli::args::Mode;
use mmap_rpc_cli::serving::Serving;
use mmap_rpc_cli::transports::{Echo, Flood, Place, Transport};
use mmap_rpc_cli::work;

type Pending = PendingResponse<ipc::Service, [u8], (), [u8], ()>;
type Unfilled = RequestMutUninit<ipc::Service, [MaybeUninit<u8>], (), [u8], ()>;

/// Messages up to this size may be under way in numbers.
const SMALL: usize = 4 << 10;

/// How many of them.
const DEPTH: usize = 64;

/// Request and response over iceoryx2.
pub(crate) struct Iceoryx2 {
    /// Whether a side that waits sleeps.
    pub(crate) sleeps: bool,
}

impl Transport for Iceoryx2 {
    fn name(&self) -> &'static str {
        if self.sleeps { "iceoryx2-events" } else { "iceoryx2" }
    }

    fn modes(&self) -> &'static [Mode] {
        if self.sleeps {
            &[Mode::Latency, Mode::Flood, Mode::Wake, Mode::OneCore]
        } else {
            &[Mode::Latency, Mode::Flood]
        }
    }

    fn left_out(&self, mode: Mode) -> Option<&'static str> {
        match mode {
            Mode::Wake if !self.sleeps => Some("which polls and never sleeps"),
            Mode::OneCore if !self.sleeps => Some("which polls away the time that the other side needs"),
            _ => None,
        }
    }

    fn spins(&self) -> bool {
        !self.sleeps
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let node = node()?;
        let max_size = serving.max_size();
        let service = node.service_builder(&name(serving.directory(), "")?);
        let service = service.request_response::<[u8], [u8]>();
        let service = service
            .request_payload_alignment(Alignment::ALIGN_64)
            .response_payload_alignment(Alignment::ALIGN_64)
            .max_active_requests_per_client(depth(max_size))
            .max_loaned_requests(1)
            .max_response_buffer_size(1)
            .max_borrowed_responses_per_pending_response(1)
            .max_servers(1)
            .max_clients(1)
            .create()?;
        let server = service.server_builder().initial_max_slice_len(max_size).create()?;
        let bells = self.sleeps.then(|| Bells::of_server(&node, serving.directory())).transpose()?;
        serving.ready("");
        loop {
            while let Some(request) = server.receive()? {
                let seed = work::reply_seed(work::sum(request.payload()));
                let mut reply = request.loan_slice_uninit(request.payload().len())?;
                fill(reply.payload_mut(), seed);
                // SAFETY: all of its bytes were just filled.
                unsafe { reply.assume_init() }.send()?;
                bells.as_ref().map_or(Ok(()), Bells::ring)?;
            }
            match &bells {
                Some(bells) => bells.wait()?,
                None if serving.is_turn() => hint::spin_loop(),
                None => serving.wait_for_turn(),
            }
        }
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let node = node()?;
        let service = node.service_builder(&name(&place.directory, "")?);
        let service = service.request_response::<[u8], [u8]>();
        let service = service
            .request_payload_alignment(Alignment::ALIGN_64)
            .response_payload_alignment(Alignment::ALIGN_64)
            .open()
            .context("cannot open the service")?;
        let sender = service.client_builder().initial_max_slice_len(place.max_size).create()?;
        let bells = self.sleeps.then(|| Bells::of_client(&node, &place.directory)).transpose()?;
        Ok(Box::new(Client { sender, bells, depth: depth(place.max_size), node }))
    }
}

/// How many calls may be under way.
fn depth(max_size: usize) -> usize {
    if max_size <= SMALL { DEPTH } else { 1 }
}

fn node() -> anyhow::Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().config(&Config::default());
    node.signal_handling_mode(SignalHandlingMode::Disabled).create().context("cannot create a node")
}

/// The name of a service: directories are this bench's alone, and so are names that are made of them.
fn name(directory: &Path, end: &str) -> anyhow::Result<ServiceName> {
    let name = format!("rivals{}{end}", directory.display());
    name.as_str().try_into().with_context(|| format!("no name for a service: {name}"))
}

/// Fills a message for the first time.
fn fill(bytes: &mut [MaybeUninit<u8>], seed: u64) {
    let (start, len) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: these bytes are mapped and nobody else's, they lie in a file, whose every byte has a value, and
    // every value is a `u8`.
    work::fill(unsafe { std::slice::from_raw_parts_mut(start, len) }, seed);
}

/// How both sides of a call wake each other.
struct Bells {
    theirs: Notifier<ipc::Service>,
    ours: Listener<ipc::Service>,
}

impl Bells {
    fn of_server(node: &Node<ipc::Service>, directory: &Path) -> anyhow::Result<Self> {
        let bell = |end| anyhow::Ok(node.service_builder(&name(directory, end)?).event().create()?);
        let (requests, replies) = (bell("/requests")?, bell("/replies")?);
        let theirs = replies.notifier_builder().create()?;
        Ok(Self { theirs, ours: requests.listener_builder().create()? })
    }

    fn of_client(node: &Node<ipc::Service>, directory: &Path) -> anyhow::Result<Self> {
        let bell = |end| anyhow::Ok(node.service_builder(&name(directory, end)?).event().open()?);
        let (requests, replies) = (bell("/requests")?, bell("/replies")?);
        let theirs = requests.notifier_builder().create()?;
        Ok(Self { theirs, ours: replies.listener_builder().create()? })
    }

    fn ring(&self) -> anyhow::Result<()> {
        self.theirs.notify().context("cannot wake the other side").map(drop)
    }

    /// Sleeps until the other side rings, or for a second.
    fn wait(&self) -> anyhow::Result<()> {
        let rung = self.ours.timed_wait(|_| {}, Duration::from_secs(1));
        rung.context("cannot wait for the other side").map(drop)
    }
}

struct Client {
    sender: Sender<ipc::Service, [u8], (), [u8], ()>,
    bells: Option<Bells>,
    depth: usize,
    node: Node<ipc::Service>,
}

impl Client {
    fn send(&self, size: usize, number: u64) -> anyhow::Result<Pending> {
        let mut request: Unfilled = self.sender.loan_slice_uninit(size)?;
        fill(request.payload_mut(), work::seed(number));
        // SAFETY: all of its bytes were just filled.
        let pending = unsafe { request.assume_init() }.send()?;
        self.bells.as_ref().map_or(Ok(()), Bells::ring)?;
        Ok(pending)
    }

    /// Waits for the reply and checks it. Gives up after some ten seconds, because nothing else tells that
    /// the server is gone.
    fn receive(&self, pending: &Pending, size: usize, number: u64) -> anyhow::Result<()> {
        let looks = if self.bells.is_some() { 10 } else { 1 << 30 };
        for _ in 0..looks {
            if let Some(reply) = pending.receive()? {
                return work::check(reply.payload(), size, work::seed(number));
            }
            match &self.bells {
                Some(bells) => bells.wait()?,
                None => hint::spin_loop(),
            }
        }
        bail!("no reply comes")
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let pending = self.send(size, number)?;
        self.receive(&pending, size, number)
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let size = flood.size;
        let flood = Flood { depth: flood.depth.min(self.depth), ..flood };
        let mut under_way = VecDeque::with_capacity(flood.depth + 1);
        flood.run(
            &mut under_way,
            |under_way, number| {
                under_way.push_back(self.send(size, number)?);
                Ok(())
            },
            |under_way, number| {
                let pending = under_way.pop_front().context("a call is under way")?;
                self.receive(&pending, size, number)
            },
        )
    }
}

impl Drop for Client {
    /// The server was killed by then, and its files outlive it.
    fn drop(&mut self) {
        self.node.try_cleanup_dead_nodes();
    }
}
