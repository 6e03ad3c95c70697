//! Driving for tasks: a step at a time, and never asleep.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Driver, Stop, publish_cpu};
use crate::client::awaited::{Awaited, Nothing};
use crate::client::core::Core;
use crate::connection::CloseReason;
use crate::os::{Poller, current_cpu};
use crate::ring::{glance, spin_until};

/// How long a task that has just sent looks for its reply: several times what a short call takes, and little
/// of what a runtime may expect of one poll.
const BRIEFLY: Duration = Duration::from_micros(10);

/// What there was to do since something came last.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::client) enum Vigil {
    #[default]
    None,
    /// To look, until then.
    Looking(Instant),
    /// To sleep, from then on, because looking was of no use.
    Slept(Instant),
}

/// What a [step](Driver::step) has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Step {
    /// Something was handed out, or may be there: take another one soon.
    Worked,
    /// The connection is armed: the poller tells of what comes next.
    Asleep,
    /// The connection is closed, and everybody knows.
    Closed,
}

impl Driver {
    /// What says that something has come, once this side [sleeps](Step::Asleep).
    pub(in crate::client) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Hands out what there is, and what comes in a moment. `None` if what the caller awaits did not. With
    /// others under way it looks for a moment only if it is to look `beside_others`, and then a short one.
    pub(in crate::client) fn glance<A: Awaited>(
        &mut self,
        core: &Core,
        awaited: &mut A,
        beside_others: bool,
    ) -> Option<Stop> {
        if core.lead.end_rest() {
            // What we look for needs no bell. The driver is woken when the lead is given up.
            self.wake_up(core);
        }
        for last in [false, true] {
            self.turn(core, awaited);
            if awaited.has_come() {
                return Some(Stop::Done);
            }
            if core.link.is_closed() {
                return Some(self.closed(core, awaited));
            }
            let is_alone = !core.lead.has_waiters();
            if last || !(is_alone || beside_others) || !self.look(core, is_alone) {
                break;
            }
        }
        None
    }

    /// Looks for the next entry: briefly, or if that was of use before.
    fn look(&mut self, core: &Core, is_alone: bool) -> bool {
        let link = &core.link;
        if link.is_socket_lane() {
            return false;
        }
        link.fetch_next_slot();
        let next = self.session.watch(link);
        let found = self.spin.is_hot() && glance(|| next.is_there())
            || is_alone
                && self.spin.should_spin(current_cpu(), link.peer_cpu())
                && spin_until(self.spin.budget().min(BRIEFLY), || next.is_there());
        if found {
            self.spin.succeeded();
        } else {
            self.spin.cool();
        }
        found
    }

    /// Takes back that this side sleeps.
    pub(in crate::client) fn wake_up(&mut self, core: &Core) {
        self.session.disarm(&core.link);
    }

    /// Takes the next step for all that wait: what a blocking leader does between two looks at its own call.
    /// `rung` says that the poller has something.
    pub(in crate::client) fn step(&mut self, core: &Core, rung: bool, vigil: &mut Vigil) -> Step {
        let link = &core.link;
        let mut came = rung;
        if rung || (link.is_socket_lane() && matches!(vigil, Vigil::Looking(_))) {
            if let Err(error) = self.poller.wait(&mut self.events, Some(Duration::ZERO)) {
                link.close(CloseReason::Os(error.to_string()));
            }
            came |= !self.events.is_empty();
            self.on_events(core, &mut Nothing);
        }
        if self.unread {
            self.read_socket(core, &mut Nothing);
            came = true;
        }
        if self.session.is_ready(link) {
            self.turn(core, &mut Nothing);
            came = true;
        }
        if link.is_closed() {
            self.closed(core, &mut Nothing);
            return Step::Closed;
        }
        if came || (link.space.any() && self.offer_space(core)) {
            match mem::take(vigil) {
                Vigil::Looking(_) => self.spin.succeeded(),
                Vigil::Slept(since) => self.spin.failed_then_slept(since.elapsed()),
                Vigil::None => {}
            }
            return Step::Worked;
        }
        let now = Instant::now();
        match *vigil {
            Vigil::None if self.spin.should_spin(publish_cpu(&mut self.cpu, link), link.peer_cpu()) => {
                *vigil = Vigil::Looking(now + self.spin.budget());
                return Step::Worked;
            }
            Vigil::Looking(until) if now < until => return Step::Worked,
            Vigil::Looking(_) => *vigil = Vigil::Slept(now),
            Vigil::None | Vigil::Slept(_) => {}
        }
        if self.arm(core, &mut Nothing) { Step::Asleep } else { Step::Worked }
    }
}
