//! Mutants of parking: edge F1 from either side, in each of its uses, and the epoch.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "kick_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        fence(Ordering::SeqCst);\n        // Relaxed: the fence orders it.",
            "        // Relaxed: the fence orders it.",
        )],
        model: "park::producer_wakes_the_consumer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "arm_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        word.store(self.epoch, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
            "        word.store(self.epoch, Ordering::Relaxed);",
        )],
        model: "park::producer_wakes_the_consumer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "last_kicked_as_a_boolean",
        file: "ring/park.rs",
        edits: &[(
            "epoch & 1 == 1 && self.claim(epoch)",
            "if epoch & 1 == 0 {\n            self.last.store(0, Ordering::Relaxed);\n        }\n        epoch & 1 == 1 && self.claim(1)",
        )],
        model: "park::two_producers_wake_the_consumer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "waker_clears_the_mark",
        file: "ring/park.rs",
        edits: &[(
            "        let epoch = word.load(Ordering::Relaxed);",
            "        let epoch = word.load(Ordering::Relaxed);\n        if epoch & 1 == 1 {\n            word.store(epoch + 1, Ordering::Relaxed);\n        }",
        )],
        model: "park::two_producers_wake_the_consumer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "same_mark_for_every_sleep",
        file: "ring/park.rs",
        edits: &[("self.epoch = self.epoch.wrapping_add(1) | 1;", "self.epoch = 1;")],
        model: "park::producer_wakes_the_consumer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "consumer_kicks_for_room_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        fence(Ordering::SeqCst);\n        // Relaxed: the fence orders it.",
            "        // Relaxed: the fence orders it.",
        )],
        model: "park::room_wakes_the_producer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "producer_waits_for_room_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        word.store(self.epoch, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
            "        word.store(self.epoch, Ordering::Relaxed);",
        )],
        model: "park::room_wakes_the_producer",
        fails_with: "deadlock",
    },
    Mutant {
        name: "reader_kicks_for_slots_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        fence(Ordering::SeqCst);\n        // Relaxed: the fence orders it.",
            "        // Relaxed: the fence orders it.",
        )],
        model: "park::returned_slot_wakes_the_owner",
        fails_with: "deadlock",
    },
    Mutant {
        name: "owner_waits_for_slots_without_its_fence",
        file: "ring/park.rs",
        edits: &[(
            "        word.store(self.epoch, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
            "        word.store(self.epoch, Ordering::Relaxed);",
        )],
        model: "park::returned_slot_wakes_the_owner",
        fails_with: "deadlock",
    },
];
