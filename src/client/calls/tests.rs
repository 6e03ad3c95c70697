//! The table of calls, step by step.

use super::*;

fn reply(code: u32) -> impl FnOnce(&mut Reply) {
    move |reply| reply.code = code
}

#[test]
fn a_table_hands_out_each_cell_once() {
    let table = CallTable::new(70);
    let mut tickets: Vec<_> = (0..70).map(|_| table.claim().unwrap()).collect();
    assert!(table.claim().is_none());
    tickets.sort_by_key(|ticket| ticket.index());
    tickets.dedup();
    assert_eq!(tickets.len(), 70);
}

#[test]
fn a_reply_reaches_its_call_and_no_later_one() {
    let table = CallTable::new(1);
    let first = table.claim().unwrap();
    assert!(table.take(first).is_none());
    assert_eq!(table.deliver(first.call_id, reply(5)), Ok(Delivered::To(0)));
    assert_eq!(table.take(first).unwrap().code, 5);
    let second = table.claim().unwrap();
    assert_ne!(first.call_id, second.call_id);
    assert!(table.deliver(first.call_id, reply(6)).is_err());
    assert!(!table.cell_of(second).is_done());
}

#[test]
fn a_call_answered_by_its_own_leader_is_over() {
    let table = CallTable::new(1);
    let ticket = table.claim().unwrap();
    let cell = table.cell_of(ticket);
    cell.answer_in_hand().unwrap();
    assert!(cell.answer_in_hand().is_err(), "a second reply");
    let taken = table.answered(ticket, cell);
    assert!(table.deliver(ticket.call_id, reply(0)).is_err(), "and through the cell");
    assert!(table.claim().is_none(), "its number is in use until the caller has left the lead");
    drop(taken);
    let next = table.claim().unwrap();
    table.deliver(next.call_id, reply(0)).unwrap();
    assert!(table.cell_of(next).answer_in_hand().is_err(), "after the cell has its reply");
}

#[test]
fn an_abandoned_call_keeps_its_cell_until_the_reply() {
    let table = CallTable::new(1);
    let ticket = table.claim().unwrap();
    assert!(table.abandon(ticket));
    assert!(table.claim().is_none());
    assert_eq!(table.deliver(ticket.call_id, reply(0)), Ok(Delivered::ToNobody));
    assert!(table.claim().is_some());
}

#[test]
fn abandoning_an_answered_call_frees_it_at_once() {
    let table = CallTable::new(1);
    let ticket = table.claim().unwrap();
    table.deliver(ticket.call_id, reply(0)).unwrap();
    assert!(!table.abandon(ticket));
    assert!(table.claim().is_some());
}

#[test]
fn replies_to_nothing_are_violations() {
    let table = CallTable::new(2);
    assert!(table.deliver(0, reply(0)).is_err());
    assert!(table.deliver(9, reply(0)).is_err());
    let ticket = table.claim().unwrap();
    table.deliver(ticket.call_id, reply(0)).unwrap();
    assert!(table.deliver(ticket.call_id, reply(0)).is_err(), "a second reply");
    let unsent = table.claim().unwrap();
    table.cancel_unsent(unsent);
    assert!(table.deliver(unsent.call_id, reply(0)).is_err());
}
