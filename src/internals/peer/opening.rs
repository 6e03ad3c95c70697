//! Handshakes with replaceable parts, from either side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{PATIENCE, Peer, receive, send_all};
use crate::connection::{ClientHandshake, Config, Frames, HandshakeError, Lane, Link, answer};
use crate::os::{Doorbell, Listener, Socket};
use crate::wire::{ConnectRequest, ConnectResponse, Limits, Memory, Message, VersionRange};

/// Why a server did not let a client in.
#[derive(Debug)]
pub enum Refusal {
    /// It said so, in these words, and named the versions that it speaks.
    Said {
        /// The words.
        error: String,
        /// Oldest and newest version.
        versions: (u32, u32),
    },
    /// It hung up without a word.
    HungUp,
    /// Something else happened on the way.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

fn bell_of(bell: &Option<Doorbell>) -> io::Result<Doorbell> {
    bell.as_ref().expect("memory that is no file comes with a doorbell").try_clone()
}

/// What a client says first: honest until a field is changed.
pub struct ClientOffer {
    handshake: ClientHandshake,
    request: ConnectRequest,
    /// Base segment and doorbell.
    pub descriptors: Vec<OwnedFd>,
}

impl ClientOffer {
    /// An honest offer.
    ///
    /// # Errors
    /// If memory or descriptors are short.
    pub fn honest() -> io::Result<Self> {
        Self::of(Config::default())
    }

    /// An honest offer to send calls over the socket.
    ///
    /// # Errors
    /// If memory or descriptors are short.
    pub fn on_socket_lane() -> io::Result<Self> {
        Self::of(Config { lane: Lane::Socket, ..Config::default() })
    }

    fn of(config: Config) -> io::Result<Self> {
        let (handshake, frame, descriptors) = ClientHandshake::start(config)?;
        let Message::ConnectRequest(request) = decode(&frame) else {
            unreachable!("a client starts with a ConnectRequest")
        };
        Ok(Self { handshake, request, descriptors })
    }

    /// Speaks other versions.
    pub fn versions(mut self, min: u32, max: u32) -> Self {
        self.request.versions = VersionRange { min, max };
        self
    }

    /// Requires features.
    pub fn required_features(mut self, features: u64) -> Self {
        self.request.required_features = features;
        self
    }

    /// Claims other limits: largest message, bytes of the region, calls in flight.
    pub fn limits(mut self, message: u64, region: u64, in_flight: u32) -> Self {
        self.request.limits = Limits {
            max_message_size: message,
            max_region_bytes: region,
            max_in_flight: in_flight,
            ..self.request.limits
        };
        self
    }

    /// Announces a base segment of another length.
    pub fn base_bytes(mut self, bytes: u64) -> Self {
        self.request.base_segment_bytes = (bytes != 0).then_some(bytes);
        self
    }

    /// Replaces the base segment.
    pub fn base(mut self, base: OwnedFd) -> Self {
        self.descriptors[0] = base;
        self
    }

    /// Replaces the doorbell.
    pub fn bell(mut self, bell: OwnedFd) -> Self {
        self.descriptors[1] = bell;
        self
    }

    /// Connects and makes the offer.
    ///
    /// # Errors
    /// How the server turned it down.
    pub fn knock(self, path: &Path) -> Result<Peer, Refusal> {
        let socket = Socket::connect(path)?;
        let credentials = socket.credentials()?;
        let mut frame = Vec::new();
        Message::ConnectRequest(self.request).encode_frame(&mut frame).map_err(io::Error::other)?;
        send_all(&socket, &frame, &borrowed(&self.descriptors))?;
        drop(self.descriptors);
        let mut frames = Frames::new();
        let answer = receive(&socket, &mut frames, Instant::now() + PATIENCE)?;
        let (message, descriptors) = answer.ok_or(Refusal::HungUp)?;
        if let Message::ConnectResponse(ConnectResponse::Refused { error, versions }) = message {
            return Err(Refusal::Said { error, versions: (versions.min, versions.max) });
        }
        let agreed = self.handshake.finish(message, descriptors).map_err(io::Error::other)?;
        let bell = bell_of(&agreed.peer_bell)?;
        Ok(Peer::new(Link::new(agreed, socket, credentials)?, frames, bell))
    }
}

impl std::fmt::Debug for ClientOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOffer").field("request", &self.request).finish_non_exhaustive()
    }
}

/// A server in hostile hands, before anybody has come.
#[derive(Debug)]
pub struct Host(Listener);

impl Host {
    /// Listens at `path`.
    ///
    /// # Errors
    /// As for a real server.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Listener::bind(path, 0o600).map(Self)
    }

    /// Waits up to 5 seconds for a client and reads nothing of it.
    ///
    /// # Errors
    /// `TimedOut` if nobody comes.
    pub fn accept(&self) -> io::Result<Visit> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.0.accept()? {
                Some(socket) => return Ok(Visit { socket, frames: Frames::new() }),
                None if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// A client that has come.
pub struct Visit {
    socket: Socket,
    frames: Frames,
}

impl Visit {
    /// Reads its offer and prepares an honest answer with these methods.
    ///
    /// # Errors
    /// If it offers nothing that a server could accept.
    pub fn answer(mut self, methods: &[&str]) -> io::Result<ServerOffer> {
        let came = receive(&self.socket, &mut self.frames, Instant::now() + PATIENCE)?;
        let (message, descriptors) = came.ok_or(io::ErrorKind::UnexpectedEof)?;
        let methods: Vec<_> = methods.iter().map(|name| (*name).to_owned()).collect();
        let (agreed, frame, descriptors) =
            answer(&Config::default(), &methods, "hostile-0".into(), message, descriptors)
                .map_err(io::Error::other)?;
        let Message::ConnectResponse(response) = decode(&frame) else {
            unreachable!("a server answers with a ConnectResponse")
        };
        let bell = bell_of(&agreed.peer_bell)?;
        let credentials = self.socket.credentials()?;
        let link = Link::new(agreed, self.socket, credentials)?;
        Ok(ServerOffer { peer: Peer::new(link, self.frames, bell), response, descriptors })
    }

    /// Sends any bytes instead of an answer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn say(&self, bytes: &[u8]) -> io::Result<()> {
        send_all(&self.socket, bytes, &[])
    }
}

impl std::fmt::Debug for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visit").finish_non_exhaustive()
    }
}

/// What a server answers: honest until a part is changed.
pub struct ServerOffer {
    peer: Peer,
    response: ConnectResponse,
    /// Base segment and doorbell.
    pub descriptors: Vec<OwnedFd>,
}

impl ServerOffer {
    /// Chooses another version.
    pub fn version(mut self, chosen: u32) -> Self {
        if let ConnectResponse::Accepted { version, .. } = &mut self.response {
            *version = chosen;
        }
        self
    }

    /// Uses features.
    pub fn features(mut self, used: u64) -> Self {
        if let ConnectResponse::Accepted { features, .. } = &mut self.response {
            *features = used;
        }
        self
    }

    /// Announces a base segment of another length.
    pub fn base_bytes(mut self, bytes: u64) -> Self {
        if let ConnectResponse::Accepted { memory, .. } = &mut self.response {
            *memory = Memory::BaseSegment { bytes };
        }
        self
    }

    /// Replaces the base segment.
    pub fn base(mut self, base: OwnedFd) -> Self {
        self.descriptors[0] = base;
        self
    }

    /// Replaces the doorbell.
    pub fn bell(mut self, bell: OwnedFd) -> Self {
        self.descriptors[1] = bell;
        self
    }

    /// Refuses, in these words, and claims to speak these versions.
    pub fn refuse(mut self, error: &str, min: u32, max: u32) -> Self {
        self.response = ConnectResponse::Refused { error: error.into(), versions: VersionRange { min, max } };
        self.descriptors.clear();
        self
    }

    /// Sends the answer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn let_in(self) -> io::Result<Peer> {
        let mut frame = Vec::new();
        Message::ConnectResponse(self.response).encode_frame(&mut frame).map_err(io::Error::other)?;
        self.peer.send(&frame, &borrowed(&self.descriptors))?;
        Ok(self.peer)
    }
}

impl std::fmt::Debug for ServerOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOffer").field("response", &self.response).finish_non_exhaustive()
    }
}

fn decode(frame: &[u8]) -> Message {
    let mut frames = crate::wire::Decoder::new();
    frames.feed(frame);
    let body = frames.next_frame().expect("our own frame").expect("a whole frame");
    Message::decode(&body).expect("our own message")
}

/// Both ends of an honest handshake, agreed without a listener.
pub(super) fn pair(config: &Config) -> io::Result<(Link, Link, Doorbell, Doorbell)> {
    let failed = |error: HandshakeError| io::Error::other(error);
    let (ours, theirs) = Socket::pair()?;
    let (client, request, descriptors) = ClientHandshake::start(config.clone())?;
    let (server, response, descriptors) =
        answer(config, &["/t.T/Echo".to_owned()], "duel".into(), decode(&request), descriptors)
            .map_err(failed)?;
    let client = client.finish(decode(&response), descriptors).map_err(failed)?;
    let credentials = ours.credentials()?;
    let (to_server, to_client) = (bell_of(&client.peer_bell)?, bell_of(&server.peer_bell)?);
    let client = Link::new(client, ours, credentials)?;
    Ok((client, Link::new(server, theirs, credentials)?, to_server, to_client))
}
