//! Mutants of the call cells: who owns a cell while a reply comes.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "done_stored_relaxed",
        file: "client/calls.rs",
        edits: &[(
            "cell.state.store(generation | DONE, Ordering::Release);",
            "cell.state.store(generation | DONE, Ordering::Relaxed);",
        )],
        model: "calls::a_reply_arrives_whole",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "taken_without_acquire",
        file: "client/calls.rs",
        edits: &[(
            "if cell.state.load(Ordering::Acquire) & PHASE != DONE {",
            "if cell.state.load(Ordering::Relaxed) & PHASE != DONE {",
        )],
        model: "calls::a_reply_arrives_whole",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leader_writes_before_it_owns",
        file: "client/calls.rs",
        edits: &[(
            "cell.state.compare_exchange(generation | from, busy, Ordering::Acquire, Ordering::Relaxed).is_ok()",
            "{ let _ = busy; cell.state.load(Ordering::Acquire) == generation | from }",
        )],
        model: "calls::a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leaver_does_not_wait_for_the_leader",
        file: "client/calls.rs",
        edits: &[("Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),", "")],
        model: "calls::a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "the payload ends once",
    },
    Mutant {
        name: "abandoned_cell_is_not_freed",
        file: "client/calls.rs",
        edits: &[(
            "            self.free(cell, index);\n            return Ok(Delivered::ToNobody);",
            "            return Ok(Delivered::ToNobody);",
        )],
        model: "calls::a_caller_that_left_meets_no_old_reply",
        fails_with: "the cell was never given back",
    },
    Mutant {
        name: "message_handed_over_in_a_cell_that_is_not_owned",
        file: "client/calls.rs",
        edits: &[
            (
                "match cell.state.compare_exchange(pending, busy, Ordering::Acquire, Ordering::Relaxed) {\n            \
                 Ok(_) => {}",
                "match { let _ = busy; Err::<u32, u32>(cell.state.load(Ordering::Acquire)) } {\n            \
                 Ok(_) => {}\n            Err(seen) if seen == pending => {}",
            ),
            ("        cell.state.store(pending, Ordering::Release);\n", ""),
        ],
        model: "calls::a_message_to_a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "cell_given_back_relaxed_after_a_message",
        file: "client/calls.rs",
        edits: &[(
            "cell.state.store(pending, Ordering::Release);",
            "cell.state.store(pending, Ordering::Relaxed);",
        )],
        model: "calls::a_message_to_a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leaver_does_not_wait_for_a_message_to_be_handed_over",
        file: "client/calls.rs",
        edits: &[("Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),", "")],
        model: "calls::a_caller_that_left_meets_no_message",
        fails_with: "the cell was never given back",
    },
];
