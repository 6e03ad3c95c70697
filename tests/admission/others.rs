//! Clients of another user, as processes of that user. Only root can start those.

use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mmap_rpc::internals::peer::{ClientOffer, RawEntry, Word};
use mmap_rpc::{Backing, Channel, ConnectError, Lane, Server, ServerBuilder};
use rustix::fs::OFlags;
use testkit::child::{dir_of, may_start_as_others};
use testkit::proto::{Blob, EchoClient};
use testkit::{Child, LocalServer, PATIENCE, Parent, Way, eventually, noise};

use super::{WAYS, alone, assert_served, logged, refusal, watch};

const UID: u32 = 54_321;
const GID: u32 = 54_322;
const WHO: &str = "/t.T/Who";

/// A server that tells its clients who they are, in a folder that every user may enter.
fn serve(builder: ServerBuilder) -> (LocalServer, tempfile::TempDir) {
    let (server, dir) = super::serve(builder.raw(WHO, |request, _| {
        let peer = request.peer().expect("a client");
        Ok(format!("{} {}", peer.uid, peer.gid).into_bytes().into())
    }));
    let folder = server.path().parent().unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    (server, dir)
}

fn start(role: &str, way: Option<Way>, path: &Path) -> Child {
    let way = way.map_or("classic", Way::name);
    Child::start_as(UID, GID, role, &[("socket", path.to_str().unwrap()), ("way", way)])
}

/// Connects to a server of root, says what came of it, and calls it now and then, so that both sides sleep in
/// between.
pub(super) fn visitor(parent: &Parent) {
    let path = PathBuf::from(parent.argument("socket"));
    assert_eq!(rustix::process::geteuid().as_raw(), UID);
    let builder = Channel::builder();
    let outcome = match Way::named(&parent.argument("way")) {
        Some(Way::Ring) => builder.allow_uid(7).allow_uid(0).connect(path).wait(),
        Some(Way::Socket) => builder.allow_uid(0).lane(Lane::Socket).connect(path).wait(),
        Some(Way::File) => builder.allow_uid(0).backing(Backing::File).connect(path).wait(),
        // Of root's server it knows that it is not its own.
        None => builder.allow_uid(0).connect_classic(path).wait(),
    };
    let channel = match outcome {
        Err(refused @ ConnectError::Refused { .. }) => return parent.say(&format!("refused {refused}")),
        outcome => outcome.unwrap(),
    };
    let who = channel.raw(&channel.method(WHO), b"").timeout(PATIENCE).wait().unwrap().to_vec();
    parent.say(&format!("admitted {}", String::from_utf8(who).unwrap()));
    let client = EchoClient::new(channel);
    for (round, length) in [0, 50, 5000, 200_000, 3 << 20].into_iter().cycle().take(50).enumerate() {
        let sent = Blob { data: noise(length, round as u64) };
        assert_eq!(client.echo(sent.clone()).timeout(PATIENCE).wait().unwrap().into_inner(), sent);
        thread::sleep(Duration::from_millis(3));
    }
    parent.say("served");
}

#[test]
fn another_user_is_not_admitted_and_reads_what_would_help() {
    let _alone = alone();
    if !may_start_as_others() {
        return;
    }
    let builders = [
        Server::builder(),
        Server::builder().accept(|_| Ok(())),
        // Other ones than the visitor's.
        Server::builder().allow_uid(GID).allow_gid(UID),
    ];
    for builder in builders {
        let (server, _dir) = serve(builder.socket_mode(0o666));
        let text = start("published", None, server.path()).expect("told");
        assert!(text.contains("does not admit user 54321 of group 54322"), "{text}");
        for way in WAYS.into_iter().take(3) {
            watch::clear_log();
            let text = start("visitor", way, server.path()).expect("refused");
            assert!(text.contains("does not admit user 54321 of group 54322"), "{text}");
            assert!(text.contains("ServerBuilder::allow_uid or allow_gid"), "{text}");
            logged(&["client refused", "peer_uid=54321", "peer_gid=54322"]);
        }
        assert_served(Channel::connect(server.path()).wait().unwrap());
    }
}

#[test]
fn whom_a_list_names_is_served_on_the_lanes_without_files() {
    let _alone = alone();
    if !may_start_as_others() {
        return;
    }
    type Rule = fn(ServerBuilder) -> ServerBuilder;
    let rules: [Rule; 3] =
        [|server| server.allow_uid(UID), |server| server.allow_gid(GID), |server| server.allow_any_user()];
    for rule in rules {
        let (server, _dir) = serve(rule(Server::builder()));
        for way in [Way::Ring, Way::Socket] {
            let child = start("visitor", Some(way), server.path());
            assert_eq!(child.expect("admitted"), "54321 54322");
            child.expect("served");
            child.finish();
        }
        let text = start("visitor", Some(Way::File), server.path()).expect("refused");
        assert!(text.contains("ServerBuilder::file_backing are for clients of the server's own"), "{text}");
        let text = start("published", None, server.path()).expect("told");
        assert!(text.contains("ServerBuilder::classic are for clients of the server's own"), "{text}");
        // Our own client's side refuses, because it would be given a file that is not its own.
        let text = start("visitor", None, server.path()).expect("refused");
        assert!(text.contains("a classic channel is for servers of its own user"), "{text}");
    }
}

#[test]
fn a_hook_has_the_last_word_about_other_users() {
    let _alone = alone();
    if !may_start_as_others() {
        return;
    }
    let refuse = |peer: mmap_rpc::Credentials| match peer.uid {
        UID => Err(mmap_rpc::Status::permission_denied("not you")),
        _ => Ok(()),
    };
    let (server, _dir) = serve(Server::builder().allow_any_user().accept(refuse));
    let text = start("visitor", Some(Way::Ring), server.path()).expect("refused");
    assert!(text.contains("PERMISSION_DENIED: not you"), "{text}");
    assert_served(Channel::connect(server.path()).wait().unwrap());
}

/// Asks for a connection as the published Go client does, whoever serves, and says what is answered.
pub(super) fn published(parent: &Parent) {
    let mut stream = UnixStream::connect(parent.argument("socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = b"type.googleapis.com/mmap_rpc.ConnectRequest";
    let body = [&[0x0a, name.len() as u8][..], name].concat();
    stream.write_all(&[&(body.len() as u32).to_le_bytes()[..], b":", &body, b","].concat()).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let [length @ .., b':'] = head else { panic!("no classic frame: {head:?}") };
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    parent.say(&format!("told {}", String::from_utf8_lossy(&answer).replace(char::is_control, " ")));
}

/// Makes an eventfd block whoever writes to it.
fn jam(bell: BorrowedFd<'_>) {
    let mut count = [0; 8];
    let _ = rustix::io::read(bell, &mut count);
    rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    let flags = rustix::fs::fcntl_getfl(bell).unwrap();
    rustix::fs::fcntl_setfl(bell, flags & !OFlags::NONBLOCK).unwrap();
}

/// Connects, jams both doorbells of the connection, and has the server want to ring each of them.
pub(super) fn hostile(parent: &Parent) {
    let path = PathBuf::from(parent.argument("socket"));
    let offer = ClientOffer::honest().unwrap();
    let own = offer.descriptors[1].as_fd().try_clone_to_owned().unwrap();
    let mut peer = offer.knock(&path).unwrap();
    eventually("the server sleeps", || peer.is_slept_on());
    jam(own.as_fd());
    jam(peer.bell());
    // The server answers somebody who sleeps: it has to ring.
    peer.set(Word::Sleep, 1);
    peer.cell(0, 1, RawEntry::request(0, 0));
    peer.send(b"0:,", &[]).unwrap();
    assert_eq!(peer.next_entry().map(|entry| entry.call_id()), Some(0));
    assert_eq!(peer.read(), Some("doorbell"));
    parent.say("answered");
    parent.hear();
    // The server ends the connection: it rings at its own driver.
    peer.send(b"no frame", &[]).unwrap();
    assert!(peer.is_hung_up_on());
    parent.say("hung up on");
    // Both bells stay as they are until the parent has looked.
    parent.hear();
}

#[test]
fn another_user_cannot_have_a_ring_block() {
    let _alone = alone();
    if !may_start_as_others() {
        return;
    }
    let (server, _dir) = serve(Server::builder().allow_uid(UID));
    // A server that blocks would not end either: a failure is not to wait for it.
    let server = ManuallyDrop::new(server);
    let honest = Channel::connect(server.path()).wait().unwrap();
    let mut child = start("hostile", Some(Way::Ring), server.path());
    child.expect("answered");
    assert_served(honest.clone());
    child.tell("go on");
    child.expect("hung up on");
    assert_served(honest);
    drop(ManuallyDrop::into_inner(server));
}

#[test]
fn a_server_of_another_user_is_not_trusted_unasked() {
    if !may_start_as_others() {
        return;
    }
    let (_dir, folder) = dir_of(UID, GID);
    let socket = folder.join("socket");
    let child = Child::start_as(UID, GID, "server of root", &[("socket", socket.to_str().unwrap())]);
    child.expect("listening");
    let text = refusal(Channel::connect(&socket).wait());
    assert!(text.contains("the server runs as user 54321"), "{text}");
    assert!(text.contains("this process as user 0; ChannelBuilder::allow_uid trusts it"), "{text}");
    refusal(Channel::builder().allow_uid(UID + 1).connect(&socket).wait());
    let text = refusal(Channel::builder().allow_uid(UID).connect_classic(&socket).wait());
    assert!(text.contains("a classic channel is for servers of its own user"), "{text}");
    assert_served(Channel::builder().allow_uid(UID).connect(&socket).wait().unwrap());
}

/// Serves root, as another user.
pub(super) fn server_of_root(parent: &Parent) {
    let path = PathBuf::from(parent.argument("socket"));
    let server = testkit::echo::serve(Server::builder().allow_uid(0), Default::default());
    let server = server.bind(path).unwrap();
    parent.say("listening");
    server.run().unwrap();
}
