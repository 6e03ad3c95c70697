//! Who may connect: the server's own user, users and groups that were named, and of those whom the hooks
//! admit.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use crate::os::{Credentials, effective_uid};
use crate::rpc::Status;
use crate::server::builder::ServerBuilder;
use crate::server::panics::text_of;

/// A user's own rule.
type Hook = Box<dyn Fn(Credentials) -> Result<(), Status> + Send + Sync>;

/// The rules of one server.
#[derive(Default)]
pub(super) struct Admission {
    uids: Vec<u32>,
    gids: Vec<u32>,
    any_user: bool,
    hooks: Vec<Hook>,
    socket_mode: Option<u32>,
}

impl Admission {
    /// The permissions of the socket's file.
    pub(super) fn socket_mode(&self) -> u32 {
        let admits_others = self.any_user || !self.uids.is_empty() || !self.gids.is_empty();
        self.socket_mode.unwrap_or(if admits_others { 0o666 } else { 0o600 })
    }

    /// Whether a client may connect.
    ///
    /// # Errors
    /// Why not, in words for the client.
    pub(super) fn check(&self, peer: Credentials) -> Result<(), String> {
        let Credentials { pid, uid, gid } = peer;
        let is_named = || self.uids.contains(&uid) || self.gids.contains(&gid);
        if uid != effective_uid() && !self.any_user && !is_named() {
            return Err(format!(
                "this server does not admit user {uid} of group {gid} (process {pid}); \
                 ServerBuilder::allow_uid or allow_gid admits it"
            ));
        }
        // Unwind safe: nothing of ours is half done after a panic, and what the hook keeps is its own affair.
        let ask = || self.hooks.iter().try_for_each(|hook| hook(peer));
        match panic::catch_unwind(AssertUnwindSafe(ask)) {
            Ok(answer) => answer.map_err(|status| status.to_string()),
            Err(panic) => {
                tracing::error!(peer_uid = uid, panic = text_of(&*panic), "an accept hook panicked");
                Err("the hook of ServerBuilder::accept panicked; the server's log says how".into())
            }
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("uids", &self.uids)
            .field("gids", &self.gids)
            .field("any_user", &self.any_user)
            .field("hooks", &self.hooks.len())
            .field("socket_mode", &format_args!("{:#o}", self.socket_mode()))
            .finish()
    }
}

/// Who may connect: processes of the server's own user, unless more is said here.
impl ServerBuilder {
    /// Admits processes of this user too. May be called again for another one.
    ///
    /// It is the effective user that the kernel recorded when the client connected. Whoever is not admitted
    /// is told so, with the name of this option, in [`ConnectError`](crate::ConnectError), and the log of
    /// the server has a line. The client has to say that it trusts this server's user:
    /// [`ChannelBuilder::allow_uid`](crate::ChannelBuilder::allow_uid).
    ///
    /// A client of another user is trusted no more than one of the same: see the README. It can take
    /// processor time, memory, and seats of [`max_connections`](Self::max_connections).
    /// [`file_backing`](Self::file_backing) and [`classic`](Self::classic) stay with the server's own user,
    /// who alone may open their files.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.admission.uids.push(uid);
        self
    }

    /// Admits processes of this group too, whatever their user. May be called again for another one.
    ///
    /// It is the effective group that the kernel recorded when the client connected. That is the one group
    /// of a process that the kernel tells: its supplementary groups are not seen. To admit by those, allow
    /// [any user](Self::allow_any_user) and look the user's groups up in [`accept`](Self::accept), or let
    /// [`socket_mode`](Self::socket_mode) and the group of the socket's directory decide who reaches it.
    pub fn allow_gid(mut self, gid: u32) -> Self {
        self.admission.gids.push(gid);
        self
    }

    /// Admits processes of all users: whoever reaches the socket, and passes [`accept`](Self::accept).
    pub fn allow_any_user(mut self) -> Self {
        self.admission.any_user = true;
        self
    }

    /// Has `hook` decide about each client that connects, of those who are admitted without it. May be called
    /// again: then all hooks have to agree.
    ///
    /// A hook can refuse, and admits nobody whom [`allow_uid`](Self::allow_uid),
    /// [`allow_gid`](Self::allow_gid) or [`allow_any_user`](Self::allow_any_user) does not. The status
    /// that it refuses with, code and text, is in the client's
    /// [`ConnectError::Refused`](crate::ConnectError::Refused) and in the server's log.
    ///
    /// It runs on the thread that receives calls, which serves nobody meanwhile: it must return soon, and not
    /// wait for anything. If it panics, the client is refused. The process that connected may have handed its
    /// socket on or have ended: its `pid` is for logs.
    ///
    /// ```
    /// # use mmap_rpc::{Server, Status};
    /// let builder = Server::builder().allow_any_user().accept(|peer| match peer.uid {
    ///     0 | 1000..2000 => Ok(()),
    ///     _ => Err(Status::permission_denied("for people and root; services use another socket")),
    /// });
    /// ```
    pub fn accept<H>(mut self, hook: H) -> Self
    where
        H: Fn(Credentials) -> Result<(), Status> + Send + Sync + 'static,
    {
        self.admission.hooks.push(Box::new(hook));
        self
    }

    /// Permissions of the socket's file, as `chmod` has them. Unless set they are `0o600`, for the server's
    /// own user, or `0o666` where others are admitted: then everybody who reaches the socket can knock, and
    /// is refused by the server.
    ///
    /// To connect takes the permission to write.
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.admission.socket_mode = Some(mode & 0o777);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::own_credentials;
    use crate::server::Server;

    fn admits(builder: &ServerBuilder, uid: u32, gid: u32) -> bool {
        builder.admission.check(Credentials { pid: 1, uid, gid }).is_ok()
    }

    #[test]
    fn a_list_admits_whom_it_names_and_the_own_user() {
        let own = own_credentials();
        let (other, group) = (own.uid ^ 1, own.gid ^ 1);
        let nobody_else = Server::builder();
        assert!(admits(&nobody_else, own.uid, group) && !admits(&nobody_else, other, own.gid));
        let user = Server::builder().allow_uid(other).allow_uid(other ^ 2);
        assert!(admits(&user, other, group) && admits(&user, other ^ 2, group));
        assert!(admits(&user, own.uid, group) && !admits(&user, other ^ 4, group));
        let a_group = Server::builder().allow_gid(group).allow_gid(group ^ 2);
        assert!(admits(&a_group, other, group) && admits(&a_group, other, group ^ 2));
        assert!(admits(&a_group, own.uid, own.gid) && !admits(&a_group, other, own.gid));
        assert!(admits(&Server::builder().allow_any_user(), other, group));
    }

    #[test]
    fn hooks_narrow_and_never_widen() {
        let own = own_credentials();
        let other = own.uid ^ 1;
        let willing = Server::builder().accept(|_| Ok(()));
        assert!(admits(&willing, own.uid, own.gid) && !admits(&willing, other, own.gid));
        let both = Server::builder()
            .allow_any_user()
            .accept(move |peer| if peer.uid == other { Ok(()) } else { Err(Status::aborted("")) })
            .accept(|peer| if peer.gid == 5 { Ok(()) } else { Err(Status::aborted("")) });
        assert!(admits(&both, other, 5));
        assert!(!admits(&both, own.uid, 5) && !admits(&both, other, 6));
    }

    #[test]
    fn the_sockets_permissions_follow_unless_they_are_set() {
        let mode = |builder: ServerBuilder| builder.admission.socket_mode();
        assert_eq!(mode(Server::builder().accept(|_| Ok(()))), 0o600);
        for builder in [Server::builder().allow_uid(7), Server::builder().allow_gid(7)] {
            assert_eq!(mode(builder), 0o666);
        }
        assert_eq!(mode(Server::builder().allow_any_user()), 0o666);
        assert_eq!(mode(Server::builder().allow_any_user().socket_mode(0o100_660)), 0o660);
    }
}
