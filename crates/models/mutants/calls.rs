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
        fails_with: "the payload ends once",
    },
    Mutant {
        name: "leaver_does_not_wait_for_the_leader",
        file: "client/calls.rs",
        edits: &[(
            "        while !self.cell_of(ticket).is_done() {\n            spin_loop();\n        }\n",
            "",
        )],
        model: "calls::a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "the payload ends once",
    },
    Mutant {
        name: "abandoned_cell_is_not_freed",
        file: "client/calls.rs",
        edits: &[(
            "        if own(ABANDONED) {\n            self.free(cell, index);",
            "        if own(ABANDONED) {",
        )],
        model: "calls::a_caller_that_left_meets_no_old_reply",
        fails_with: "the cell was never given back",
    },
];
