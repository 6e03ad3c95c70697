//! Mutants of the ring: the edges E1 to E3 of its table, and the order of the room check.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "seq_stored_relaxed",
        file: "ring/producer.rs",
        edits: &[("seq_of(self.position), Ordering::Release", "seq_of(self.position), Ordering::Relaxed")],
        model: "ring::entry_arrives_whole",
        fails_with: "entry out of order",
    },
    Mutant {
        name: "pop_without_its_fence",
        file: "ring/consumer.rs",
        edits: &[("        fence(Ordering::Acquire);\n", "")],
        model: "ring::entry_arrives_whole",
        fails_with: "entry out of order",
    },
    Mutant {
        name: "position_taken_by_adding",
        file: "ring/producer.rs",
        edits: &[(
            "match self.tail.compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed) {",
            "match Ok::<u64, u64>(self.tail.fetch_add(1, Ordering::Relaxed)) {",
        )],
        model: "ring::two_producers_across_the_wrap",
        fails_with: "entry not whole",
    },
    Mutant {
        name: "tail_read_before_rx_head",
        file: "ring/producer.rs",
        edits: &[
            (
                "        let tail = self.tail.load(Ordering::Relaxed);\n        if !(cached",
                "        if !(cached",
            ),
            (
                "        let cached = self.cached_head.load(Ordering::Acquire);",
                "        let cached = self.cached_head.load(Ordering::Acquire);\n        let tail = self.tail.load(Ordering::Relaxed);",
            ),
        ],
        model: "ring::two_producers_across_the_wrap",
        fails_with: "ring head out of range",
    },
    Mutant {
        name: "refresh_without_its_fence",
        file: "ring/producer.rs",
        edits: &[("        fence(Ordering::Acquire);\n", "")],
        model: "ring::two_producers_across_the_wrap",
        fails_with: "ring head out of range",
    },
    Mutant {
        name: "cached_head_stored_relaxed",
        file: "ring/producer.rs",
        edits: &[(
            "self.cached_head.store(head, Ordering::Release);",
            "self.cached_head.store(head, Ordering::Relaxed);",
        )],
        model: "ring::two_producers_across_the_wrap",
        fails_with: "ring head out of range",
    },
    Mutant {
        name: "cached_head_checked_relaxed",
        file: "ring/producer.rs",
        edits: &[(
            "let cached = self.cached_head.load(Ordering::Acquire);",
            "let cached = self.cached_head.load(Ordering::Relaxed);",
        )],
        model: "ring::two_producers_across_the_wrap",
        fails_with: "ring head out of range",
    },
    Mutant {
        name: "cached_head_used_relaxed",
        file: "ring/producer.rs",
        edits: &[(
            "!fits(tail, self.cached_head.load(Ordering::Acquire), capacity)",
            "!fits(tail, self.cached_head.load(Ordering::Relaxed), capacity)",
        )],
        model: "ring::cell_is_read_before_it_is_written_over",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "rx_head_stored_relaxed",
        file: "ring/consumer.rs",
        edits: &[(
            "view.rx_head.store(self.head, Ordering::Release);",
            "view.rx_head.store(self.head, Ordering::Relaxed);",
        )],
        model: "ring::cell_is_read_before_it_is_written_over",
        fails_with: "Causality violation",
    },
];
