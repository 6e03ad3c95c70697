//! The handshake, as two machines without I/O: what a side offers, what it makes of the other's offer.
//!
//! ```text
//!   client                                                      server
//!     │  ConnectRequest: versions, features, limits               │
//!     │  + base segment + doorbell ────────────────────────────►  │  checks credentials, versions, features,
//!     │                                                           │  maps and validates the segment
//!     │         ConnectResponse: version, limits, method names    │
//!     │  ◄──────────────────────────── + base segment + doorbell  │
//!     │                        or: error, versions, no descriptor │
//! ```
//!
//! A client that requires the feature `FILE_BACKING` brings no memory, and the answer names a file instead.
//!
//! Neither side trusts the other before it has checked everything above; a refusal is readable at both ends.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::connection::backing::FileBacking;
use crate::connection::config::{Config, FILE_BACKING, KNOWN_FEATURES, SOCKET_LANE, VERSIONS};
use crate::connection::lane::SocketLane;
use crate::connection::link::{Agreed, PeerBase};
use crate::connection::region::OwnRegion;
use crate::error::Violation;
use crate::layout::{Header, read_header};
use crate::os::{Doorbell, admit_sealed};
use crate::wire::{
    ConnectRequest, ConnectResponse, Limits, MAX_CONNECTION_ID, MAX_ERROR_TEXT, Memory, Message, VersionRange,
};

/// Why a handshake did not lead to a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Says so to the peer, in these words.
    #[error("{0}")]
    Refused(String),
    /// The peer said so.
    #[error(
        "the server refused: {error} (it speaks protocol versions {min} to {max}, this client {} to {})",
        VERSIONS.0,
        VERSIONS.1
    )]
    RefusedByPeer { error: String, min: u32, max: u32 },
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("shared memory or doorbell: {0}")]
    Os(#[from] io::Error),
}

/// Our half of an offer: what we send, and what we keep of it.
struct Offer {
    own: OwnRegion,
    own_bell: Doorbell,
    descriptors: Vec<OwnedFd>,
}

impl Offer {
    fn new(config: &Config) -> io::Result<Self> {
        let (own, base) = OwnRegion::create(config.geometry.clone())?;
        let own_bell = Doorbell::new()?;
        Ok(Self { own, descriptors: vec![base, own_bell.try_clone()?.into()], own_bell })
    }
}

/// What the peer's two descriptors turned out to be.
fn admit_peer(
    descriptors: Vec<OwnedFd>,
    bytes: u64,
    config: &Config,
) -> Result<(PeerBase, Doorbell), Violation> {
    let [base, bell] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|found| Violation::Descriptors(format!("an offer carries 2, {} came", found.len())))?;
    if bytes > config.limits.max_region_bytes {
        return Err(Violation::Limit(format!(
            "base segment of {bytes} bytes, max_region_bytes is {}",
            config.limits.max_region_bytes
        )));
    }
    let mapping = admit_sealed(base, bytes).map_err(|error| Violation::Segment(error.to_string()))?;
    if mapping.len() < crate::layout::HEADER_BYTES {
        return Err(Violation::Segment(format!("{} bytes are too short for a header", mapping.len())));
    }
    // SAFETY: the mapping is at least a header long, as just checked.
    let copy = unsafe { read_header(mapping.as_ptr()) };
    let header =
        Header::validate(&copy, bytes).map_err(|error| Violation::Segment(format!("header: {error}")))?;
    let bell = Doorbell::from_peer(bell).map_err(|error| Violation::Descriptors(error.to_string()))?;
    Ok((PeerBase { mapping, geometry: header.geometry }, bell))
}

fn speaks() -> VersionRange {
    VersionRange { min: VERSIONS.0, max: VERSIONS.1 }
}

/// The client's side.
pub(crate) struct ClientHandshake {
    /// `None` if the server brings the memory.
    offer: Option<Offer>,
    config: Config,
}

impl ClientHandshake {
    /// Makes the offer: the frame to send, and the descriptors that travel with its first byte.
    pub(crate) fn start(config: Config) -> io::Result<(Self, Vec<u8>, Vec<OwnedFd>)> {
        let required_features = config.required_features();
        let mut offer = match required_features & FILE_BACKING {
            0 => Some(Offer::new(&config)?),
            _ => None,
        };
        let request = ConnectRequest {
            versions: speaks(),
            required_features,
            offered_features: KNOWN_FEATURES,
            limits: config.limits,
            base_segment_bytes: offer.as_ref().map(|offer| offer.own.base_bytes()),
        };
        let descriptors = offer.as_mut().map(|offer| mem::take(&mut offer.descriptors)).unwrap_or_default();
        let mut frame = Vec::new();
        Message::ConnectRequest(request).encode_frame(&mut frame).map_err(io::Error::other)?;
        Ok((Self { offer, config }, frame, descriptors))
    }

    /// Takes the answer.
    pub(crate) fn finish(
        self,
        message: Message,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Agreed, HandshakeError> {
        let response = match message {
            Message::ConnectResponse(response) => response,
            other => {
                return Err(Violation::State(format!("{} instead of ConnectResponse", other.name())).into());
            }
        };
        match response {
            ConnectResponse::Refused { error, versions } => {
                let error = printable(&error);
                Err(HandshakeError::RefusedByPeer { error, min: versions.min, max: versions.max })
            }
            ConnectResponse::Accepted { connection_id, version, features, limits, memory, methods } => {
                if !(VERSIONS.0..=VERSIONS.1).contains(&version) {
                    return Err(Violation::Message(format!(
                        "the server chose protocol version {version}, offered were {} to {}",
                        VERSIONS.0, VERSIONS.1
                    ))
                    .into());
                }
                let required = self.config.required_features();
                if features != required {
                    return Err(Violation::Message(format!(
                        "the server uses features {features:#x}, asked for were {required:#x}"
                    ))
                    .into());
                }
                let mut agreed = match (self.offer, memory) {
                    (Some(offer), Memory::BaseSegment { bytes }) => {
                        let (peer, peer_bell) = admit_peer(descriptors, bytes, &self.config)?;
                        let lane = (features & SOCKET_LANE != 0).then(|| SocketLane::of_client(None));
                        Agreed::new(
                            offer.own,
                            peer,
                            (offer.own_bell, Some(peer_bell)),
                            lane,
                            &self.config,
                            limits,
                        )
                    }
                    (None, Memory::File { path }) => {
                        let limit = self.config.limits;
                        let (file, own, peer) = FileBacking::open(Path::new(&path), limit)?;
                        let lane = Some(SocketLane::of_client(Some(file)));
                        Agreed::new(own, peer, (Doorbell::new()?, None), lane, &self.config, limits)
                    }
                    (_, memory) => {
                        let check = format!("the server brings {memory:?}, which was not asked for");
                        return Err(Violation::Message(check).into());
                    }
                };
                (agreed.methods, agreed.connection_id) = (methods, connection_id);
                Ok(agreed)
            }
        }
    }
}

impl Agreed {
    /// What holds between an end with these settings and one with those limits; still without names.
    fn new(
        own: OwnRegion,
        peer: PeerBase,
        (own_bell, peer_bell): (Doorbell, Option<Doorbell>),
        lane: Option<SocketLane>,
        config: &Config,
        theirs: Limits,
    ) -> Self {
        let mut limits = config.limits.min(theirs);
        if let Some(largest) = lane.as_ref().and_then(|lane| lane.file.as_ref()).and(own.largest_slot()) {
            // A file does not grow.
            limits.max_message_size = limits.max_message_size.min(largest);
        }
        Self {
            own,
            peer,
            peer_bell,
            own_bell,
            lane,
            own_cap: config.limits.max_region_bytes.min(theirs.max_region_bytes),
            peer_cap: config.limits.max_region_bytes,
            limits,
            methods: Vec::new(),
            connection_id: String::new(),
        }
    }
}

/// The server's side: one step from offer to answer.
pub(crate) fn answer(
    config: &Config,
    methods: &[String],
    connection_id: String,
    message: Message,
    descriptors: Vec<OwnedFd>,
) -> Result<(Agreed, Vec<u8>, Vec<OwnedFd>), HandshakeError> {
    let request = match message {
        Message::ConnectRequest(request) => request,
        other => return Err(Violation::State(format!("{} instead of ConnectRequest", other.name())).into()),
    };
    let version = request.versions.max.min(VERSIONS.1);
    if version < VERSIONS.0 || version < request.versions.min {
        return Err(HandshakeError::Refused(format!(
            "no common protocol version: the client speaks {} to {}, the server {} to {}; \
             update the older side",
            request.versions.min, request.versions.max, VERSIONS.0, VERSIONS.1
        )));
    }
    let features = request.required_features;
    if features & !KNOWN_FEATURES != 0 {
        return Err(HandshakeError::Refused(format!(
            "the client requires features {:#x}, which this server does not have; update the server",
            features & !KNOWN_FEATURES
        )));
    }
    let (mut agreed, memory, descriptors) = provide(config, &request, descriptors)?;
    let response = ConnectResponse::Accepted {
        connection_id: connection_id.clone(),
        version,
        features,
        limits: Limits { max_message_size: agreed.limits.max_message_size, ..config.limits },
        memory,
        methods: methods.to_vec(),
    };
    let mut frame = Vec::new();
    Message::ConnectResponse(response).encode_frame(&mut frame).map_err(io::Error::other)?;
    agreed.connection_id = connection_id;
    if agreed.lane.is_some() {
        agreed.methods = methods.to_vec();
    }
    Ok((agreed, frame, descriptors))
}

/// The memory of a connection, as its client asks for it.
fn provide(
    config: &Config,
    request: &ConnectRequest,
    descriptors: Vec<OwnedFd>,
) -> Result<(Agreed, Memory, Vec<OwnedFd>), HandshakeError> {
    let (features, theirs) = (request.required_features, request.limits);
    let lane = |file| SocketLane::of_server(config.limits.min(theirs).max_in_flight, file);
    match (features & FILE_BACKING != 0, request.base_segment_bytes) {
        (false, Some(bytes)) => {
            let (peer, peer_bell) = admit_peer(descriptors, bytes, config)?;
            let mut offer = Offer::new(config)?;
            let descriptors = mem::take(&mut offer.descriptors);
            let memory = Memory::BaseSegment { bytes: offer.own.base_bytes() };
            let lane = (features & SOCKET_LANE != 0).then(|| lane(None));
            let bells = (offer.own_bell, Some(peer_bell));
            Ok((Agreed::new(offer.own, peer, bells, lane, config, theirs), memory, descriptors))
        }
        (true, None) if features & SOCKET_LANE != 0 => {
            let Some(files) = &config.files else {
                let reason = "the client asks for a file, and this server makes none; \
                              ServerBuilder::file_backing allows it";
                return Err(HandshakeError::Refused(reason.into()));
            };
            let (file, own, peer) = FileBacking::create(files, config.limits.min(theirs))?;
            let path = file.path().to_str().expect("the directory is UTF-8").to_owned();
            let bells = (Doorbell::new()?, None);
            let agreed = Agreed::new(own, peer, bells, Some(lane(Some(file))), config, theirs);
            Ok((agreed, Memory::File { path }, Vec::new()))
        }
        (true, None) => Err(HandshakeError::Refused(
            "the client asks for a file without calls over the socket; require features 0x3".into(),
        )),
        (_, bytes) => Err(Violation::Message(format!(
            "ConnectRequest.base_segment_bytes is {}, which does not go with features {features:#x}",
            bytes.unwrap_or(0)
        ))
        .into()),
    }
}

/// Whether a server can tell its clients about these methods: all names travel in one frame.
pub(crate) fn check_methods(methods: &[String]) -> Result<(), String> {
    let response = ConnectResponse::Accepted {
        connection_id: "x".repeat(MAX_CONNECTION_ID),
        version: VERSIONS.1,
        features: u64::MAX,
        limits: Limits::MOST,
        memory: Memory::BaseSegment { bytes: !4095 },
        methods: methods.to_vec(),
    };
    Message::ConnectResponse(response).encode_frame(&mut Vec::new()).map_err(|error| {
        format!("{error}; all method names together must fit one control frame: use fewer or shorter ones")
    })
}

/// The frame that carries a refusal.
pub(crate) fn refusal(error: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    let error = error[..error.floor_char_boundary(MAX_ERROR_TEXT)].to_owned();
    let refused = ConnectResponse::Refused { error, versions: speaks() };
    Message::ConnectResponse(refused).encode_frame(&mut frame).expect("a refusal is short");
    frame
}

/// A peer's text as it may be shown: a terminal would obey its control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_peers_text_does_not_reach_the_terminal_as_orders() {
        assert_eq!(
            printable("zu groß: \u{1b}[2J\r\nok\u{9b}"),
            "zu groß: \u{fffd}[2J\u{fffd}\u{fffd}ok\u{fffd}"
        );
    }
}
