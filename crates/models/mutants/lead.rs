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
                "            self.wake_one();\n        }\n    }\n\n    /// Ends the registration",
                "            self.wake_one();\n        }\n        self.state.fetch_sub(own, Ordering::AcqRel);\n    }\n\n    /// Ends the registration",
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
            "self.state.fetch_or(HELD, Ordering::Acquire)",
            "self.state.fetch_or(HELD, Ordering::Relaxed)",
        )],
        model: "lead::two_callers_hand_the_lead_on",
        fails_with: "Causality violation",
    },
];
