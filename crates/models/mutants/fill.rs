//! Mutants of messages that are read while they are written: edges g and h, and the two orders.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "level_raised_relaxed",
        file: "slab/fill.rs",
        edits: &[(
            "self.shared.level.store(self.start + written, Ordering::Release);",
            "self.shared.level.store(self.start + written, Ordering::Relaxed);",
        )],
        model: "fill::what_is_told_of_is_there",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "last_raise_relaxed",
        file: "slab/fill.rs",
        edits: &[(
            "self.shared.level.store(self.end, Ordering::Release);",
            "self.shared.level.store(self.end, Ordering::Relaxed);",
        )],
        model: "fill::what_is_told_of_is_there",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "level_looked_at_without_its_fence",
        file: "slab/fill.rs",
        edits: &[("        fence(Ordering::Acquire);\n", "")],
        model: "fill::what_is_told_of_is_there",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "inflight_set_after_the_last_raise",
        file: "slab/fill.rs",
        edits: &[(
            "        // First: see the first order in the module's text.\n        slab.publish(slot);\n        self.raise_to_end();\n        // Relaxed: giving",
            "        self.raise_to_end();\n        slab.publish(slot);\n        // Relaxed: giving",
        )],
        model: "fill::finish_beside_harvest",
        fails_with: "an honest peer",
    },
    Mutant {
        name: "given_up_stored_after_the_last_raise",
        file: "slab/fill.rs",
        edits: &[(
            "        self.shared.given_up.store(self.end, Ordering::Relaxed);\n        self.raise_to_end();\n",
            "        self.raise_to_end();\n        self.shared.given_up.store(self.end, Ordering::Relaxed);\n",
        )],
        model: "fill::what_is_given_up_is_no_message",
        fails_with: "half a message taken for a whole one",
    },
    Mutant {
        name: "line_of_a_message_given_up_is_used_again",
        file: "slab/fill.rs",
        edits: &[(
            "        self.shared.given_up.store(self.end, Ordering::Relaxed);\n        self.raise_to_end();\n",
            "        self.shared.given_up.store(self.end, Ordering::Relaxed);\n        self.raise_to_end();\n        self.cancel();\n",
        )],
        model: "fill::what_is_given_up_is_no_message",
        fails_with: "its line is never used again",
    },
    Mutant {
        name: "line_freed_before_its_end_is_stored",
        file: "slab/fill.rs",
        edits: &[(
            "        self.fills.ends[self.line].store(self.end, Ordering::Relaxed);\n        bitset::give(&self.fills.free, 1 << self.line);\n",
            "        bitset::give(&self.fills.free, 1 << self.line);\n        self.fills.ends[self.line].store(self.end, Ordering::Relaxed);\n",
        )],
        model: "fill::a_line_goes_on_where_it_ended",
        fails_with: "the level is all that was sent",
    },
];
