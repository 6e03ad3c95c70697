//! Mutants of the lead: the baton, and the orderings of its one word.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "lead_wakes_before_it_releases",
        file: "client/lead.rs",
        edits: &[
            (
                "        let before = self.state.fetch_sub(own, Ordering::AcqRel);\n        if before > own {",
                "        let before = self.state.load(Ordering::Acquire);\n        if before > own {",
            ),
            (
                "            self.wake_one(before - own);\n        }\n    }\n\n    /// Ends the registration",
                "            self.wake_one(before - own);\n        }\n        self.state.fetch_sub(own, Ordering::AcqRel);\n    }\n\n    /// Ends the registration",
            ),
        ],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "leaver_drops_the_baton",
        file: "client/lead.rs",
        edits: &[("if before & HELD == 0 && before > own {", "if false {")],
        model: "lead::a_leaver_passes_the_wake_up_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "served_leaver_drops_the_baton",
        file: "client/lead.rs",
        edits: &[("if before & HELD == 0 && before > own {", "if false {")],
        model: "lead::three_callers_are_all_served",
        fails_with: "deadlock",
    },
    Mutant {
        name: "lead_not_tried_again_after_registering",
        file: "client/lead.rs",
        edits: &[("if self.lead.take() {", "if false {")],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "waiter_counted_before_its_bit_is_set",
        file: "client/lead.rs",
        edits: &[
            (
                "        let before = self.waiting[index / 64].fetch_or(mask(index), Ordering::Relaxed);\n",
                "        self.state.fetch_add(WAITER, Ordering::Release);\n        let before = self.waiting[index / 64].fetch_or(mask(index), Ordering::Relaxed);\n",
            ),
            (
                "sees its bit as well.\n        self.state.fetch_add(WAITER, Ordering::Release);\n",
                "sees its bit as well.\n",
            ),
        ],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "registration_relaxed",
        file: "client/lead.rs",
        edits: &[(
            "self.state.fetch_add(WAITER, Ordering::Release);",
            "self.state.fetch_add(WAITER, Ordering::Relaxed);",
        )],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "lead_released_relaxed",
        file: "client/lead.rs",
        edits: &[(
            "        let before = self.state.fetch_sub(own, Ordering::AcqRel);\n        if before > own {",
            "        let before = self.state.fetch_sub(own, Ordering::Acquire);\n        if before > own {",
        )],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "lead_taken_relaxed",
        file: "client/lead.rs",
        edits: &[(
            "self.state.fetch_or(HELD, Ordering::Acquire) & HELD == 0",
            "self.state.fetch_or(HELD, Ordering::Relaxed) & HELD == 0",
        )],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "task_enters_without_a_word",
        file: "client/lead/tasks.rs",
        edits: &[(
            "if self.state.fetch_add(own, Ordering::AcqRel) == 0 {",
            "if self.state.fetch_add(own, Ordering::AcqRel) == 1 << 50 {",
        )],
        model: "lead_tasks::a_driver_goes_on_where_a_thread_leaves",
        fails_with: "deadlock",
    },
    Mutant {
        name: "drivers_not_woken_by_a_release",
        file: "client/lead.rs",
        edits: &[("if knocked || !self.rested.load(Ordering::Relaxed) {", "if false {")],
        model: "lead_tasks::a_driver_goes_on_where_a_thread_leaves",
        fails_with: "deadlock",
    },
    Mutant {
        name: "task_not_woken_by_its_leader",
        file: "client/lead.rs",
        edits: &[("if self.parkers[index].unpark() {", "if self.parkers[index].unpark() && false {")],
        model: "lead_tasks::a_task_is_woken_by_the_thread_that_leads",
        fails_with: "deadlock",
    },
    Mutant {
        name: "task_sleeps_over_its_wake_up",
        file: "client/lead/tasks.rs",
        edits: &[("        self.parkers[index].watch()\n", "        self.parkers[index].watch() || true\n")],
        model: "lead_tasks::a_task_is_woken_by_the_thread_that_leads",
        fails_with: "deadlock",
    },
    Mutant {
        name: "task_watches_before_its_waker_is_there",
        file: "client/lead/tasks.rs",
        edits: &[(
            "        self.wakers.register(index, waker);\n        self.parkers[index].watch()\n",
            "        let watched = self.parkers[index].watch();\n        self.wakers.register(index, waker);\n        watched\n",
        )],
        model: "lead_tasks::a_task_is_woken_by_the_thread_that_leads",
        fails_with: "deadlock",
    },
    Mutant {
        name: "driver_does_not_knock",
        file: "client/lead/tasks.rs",
        edits: &[("            self.knocked.store(true, Ordering::Relaxed);\n", "")],
        model: "lead_tasks::a_driver_that_is_rung_gets_the_lead_in_the_end",
        fails_with: "deadlock",
    },
    Mutant {
        name: "driver_looks_ahead_at_the_lead",
        file: "client/lead/tasks.rs",
        edits: &[(
            "        self.state.fetch_or(HELD, Ordering::AcqRel) & HELD == 0\n",
            "        !self.is_led() && self.state.fetch_or(HELD, Ordering::AcqRel) & HELD == 0\n",
        )],
        model: "lead_tasks::a_driver_that_is_rung_gets_the_lead_in_the_end",
        fails_with: "deadlock",
    },
    Mutant {
        name: "driver_tries_for_the_lead_without_release",
        file: "client/lead/tasks.rs",
        edits: &[(
            "self.state.fetch_or(HELD, Ordering::AcqRel)",
            "self.state.fetch_or(HELD, Ordering::Acquire)",
        )],
        model: "lead_tasks::a_driver_that_is_rung_gets_the_lead_in_the_end",
        fails_with: "deadlock",
    },
    Mutant {
        name: "driver_knocks_and_does_not_try_again",
        file: "client/lead/tasks.rs",
        edits: &[(
            "            if !self.take_for_tasks() {\n                return None;",
            "            if true {\n                return None;",
        )],
        model: "lead_tasks::a_driver_that_is_rung_gets_the_lead_in_the_end",
        fails_with: "deadlock",
    },
    Mutant {
        name: "one_that_rests_hears_no_knock",
        file: "client/lead/tasks.rs",
        edits: &[(
            "if self.give_up_for_tasks() && lead.take_knock() {",
            "if self.give_up_for_tasks() && false {",
        )],
        model: "lead_tasks::a_driver_whose_runtime_stands_still_is_in_nobodys_way",
        fails_with: "deadlock",
    },
    Mutant {
        name: "one_that_pauses_wakes_nobody",
        file: "client/lead/tasks.rs",
        edits: &[(
            "        if self.give_up_for_tasks() {\n            lead.wake_drivers_but(number);",
            "        if self.give_up_for_tasks() && false {\n            lead.wake_drivers_but(number);",
        )],
        model: "lead_tasks::a_driver_that_pauses_and_stands_still_is_in_nobodys_way",
        fails_with: "deadlock",
    },
    Mutant {
        name: "threads_go_empty_handed_after_a_driver",
        file: "client/lead/tasks.rs",
        edits: &[("        if has_threads {\n", "        if false {\n")],
        model: "lead_tasks::a_thread_leads_after_a_driver_that_pauses",
        fails_with: "deadlock",
    },
];
