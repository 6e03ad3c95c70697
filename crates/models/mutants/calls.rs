//! Mutants of the call cells: who owns a cell while a reply comes.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "done_stored_relaxed",
        file: "client/calls/cell.rs",
        edits: &[(
            "self.state.store(generation | DONE, Ordering::Release);",
            "self.state.store(generation | DONE, Ordering::Relaxed);",
        )],
        model: "calls::a_reply_arrives_whole",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "taken_without_acquire",
        file: "client/calls/cell.rs",
        edits: &[(
            "self.state.load(Ordering::Acquire) & PHASE == DONE",
            "self.state.load(Ordering::Relaxed) & PHASE == DONE",
        )],
        model: "calls::a_reply_arrives_whole",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leader_writes_before_it_owns",
        file: "client/calls/cell.rs",
        edits: &[(
            "match self.state.compare_exchange(seen, busy, Ordering::Acquire, Ordering::Relaxed) {",
            "let _ = busy;\n            match Ok::<u32, u32>(self.state.load(Ordering::Acquire)) {",
        )],
        model: "calls::a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leaver_does_not_wait_for_the_leader",
        file: "client/calls/cell.rs",
        edits: &[("Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),", "")],
        model: "calls::a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "the payload ends once",
    },
    Mutant {
        name: "abandoned_cell_is_not_freed",
        file: "client/calls.rs",
        edits: &[(
            "                self.free(cell, index);\n                Ok(Delivered::ToNobody)",
            "                Ok(Delivered::ToNobody)",
        )],
        model: "calls::a_caller_that_left_meets_no_old_reply",
        fails_with: "the cell was never given back",
    },
    Mutant {
        name: "message_handed_over_in_a_cell_that_is_not_owned",
        file: "client/calls/cell.rs",
        edits: &[
            (
                "match self.state.compare_exchange(pending, busy, Ordering::Acquire, Ordering::Relaxed) {\n            \
                 Ok(_) => {}",
                "match { let _ = busy; Err::<u32, u32>(self.state.load(Ordering::Acquire)) } {\n            \
                 Ok(_) => {}\n            Err(seen) if seen == pending => {}",
            ),
            ("        self.state.store(pending, Ordering::Release);\n", ""),
        ],
        model: "calls::a_message_to_a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "cell_given_back_relaxed_after_a_message",
        file: "client/calls/cell.rs",
        edits: &[(
            "self.state.store(pending, Ordering::Release);",
            "self.state.store(pending, Ordering::Relaxed);",
        )],
        model: "calls::a_message_to_a_call_that_was_never_sent_leaves_nothing_behind",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leaver_does_not_wait_for_a_message_to_be_handed_over",
        file: "client/calls/cell.rs",
        edits: &[("Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),", "")],
        model: "calls::a_caller_that_left_meets_no_message",
        fails_with: "the cell was never given back",
    },
    Mutant {
        name: "reply_delivered_without_a_wake_up",
        file: "client/calls/cell.rs",
        edits: &[(
            "            self.publish(generation);\n            waker.into_iter().for_each(Waker::wake);",
            "            self.publish(generation);\n            drop(waker);",
        )],
        model: "calls_tasks::a_task_is_woken_by_its_reply",
        fails_with: "deadlock",
    },
    Mutant {
        name: "task_sleeps_beside_its_reply",
        file: "client/calls/cell.rs",
        edits: &[(
            "        self.waker.with_mut(|place| unsafe { *place = None });\n        false",
            "        self.waker.with_mut(|place| unsafe { *place = None });\n        true",
        )],
        model: "calls_tasks::a_task_is_woken_by_its_reply",
        fails_with: "deadlock",
    },
    Mutant {
        name: "waker_left_relaxed",
        file: "client/calls/cell.rs",
        edits: &[(
            "compare_exchange(pending, watched, Ordering::Release, Ordering::Relaxed)",
            "compare_exchange(pending, watched, Ordering::Relaxed, Ordering::Relaxed)",
        )],
        model: "calls_tasks::a_task_is_woken_by_its_reply",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "waker_left_while_it_is_taken",
        file: "client/calls/cell.rs",
        edits: &[(
            "            PENDING => return Some(generation),\n",
            "            PENDING | WATCHED => return Some(generation),\n",
        )],
        model: "calls_tasks::a_task_that_is_polled_again_keeps_its_waker_to_itself",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "roused_without_owning_the_waker",
        file: "client/calls/cell.rs",
        edits: &[(
            "if self.state.compare_exchange(seen, busy, Ordering::Acquire, Ordering::Relaxed).is_ok() {\n            // SAFETY: the phase is BUSY after WATCHED, and",
            "if { let _ = busy; self.state.load(Ordering::Acquire) == seen } {\n            // SAFETY: the phase is BUSY after WATCHED, and",
        )],
        model: "calls_tasks::a_task_is_roused_beside_its_reply",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "leader_takes_a_cell_in_which_a_task_is_roused_for_a_lie",
        file: "client/calls/cell.rs",
        edits: &[(
            "                BUSY => {\n                    spin_loop();",
            "                BUSY => {\n                    if true { return None; }\n                    spin_loop();",
        )],
        model: "calls_tasks::a_task_is_roused_beside_its_reply",
        fails_with: "an honest reply is no violation",
    },
    Mutant {
        name: "cell_given_back_relaxed_after_a_task_was_roused",
        file: "client/calls/cell.rs",
        edits: &[(
            "self.state.store(seen & !PHASE | PENDING, Ordering::Release);",
            "self.state.store(seen & !PHASE | PENDING, Ordering::Relaxed);",
        )],
        model: "calls_tasks::the_end_of_the_connection_reaches_a_task",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "roused_without_a_change_of_what_tasks_change",
        file: "client/lead.rs",
        edits: &[("        self.state.fetch_add(0, Ordering::AcqRel);\n", "")],
        model: "calls_tasks::the_end_of_the_connection_reaches_a_task",
        fails_with: "deadlock",
    },
];
