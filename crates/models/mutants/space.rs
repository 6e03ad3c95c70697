//! Mutants of waiting for space of one's own side.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "space_registered_without_its_fence",
        file: "connection/space.rs",
        edits: &[(
            "        self.waiters.fetch_add(1, Ordering::Release);\n        fence(Ordering::SeqCst);\n",
            "        self.waiters.fetch_add(1, Ordering::Release);\n",
        )],
        model: "space::what_is_freed_wakes_a_waiter_that_drives",
        fails_with: "deadlock",
    },
    Mutant {
        name: "space_freed_without_its_fence",
        file: "connection/space.rs",
        edits: &[(
            "        fence(Ordering::SeqCst);\n        let waited_for = self.any();",
            "        let waited_for = self.any();",
        )],
        model: "space::what_is_freed_wakes_a_waiter_that_drives",
        fails_with: "deadlock",
    },
    Mutant {
        name: "news_taken_by_load_and_store",
        file: "connection/space.rs",
        edits: &[(
            "self.news.load(Ordering::Relaxed) && self.news.swap(false, Ordering::Acquire)",
            "let news = self.news.load(Ordering::Relaxed);\n        \
             self.news.store(false, Ordering::Relaxed);\n        news",
        )],
        model: "space::the_driver_passes_the_news_on",
        fails_with: "deadlock",
    },
    Mutant {
        name: "space_waiter_counted_before_its_bit_is_set",
        file: "client/space.rs",
        edits: &[
            ("        // Relaxed: the count publishes the bit.\n", "        news.register();\n"),
            ("Ordering::Relaxed);\n        news.register();\n", "Ordering::Relaxed);\n"),
        ],
        model: "space_waiters::who_is_counted_is_woken",
        fails_with: "deadlock",
    },
    Mutant {
        name: "senders_woken_without_a_fence",
        file: "client/space.rs",
        edits: &[("        fence(Ordering::SeqCst);\n", "")],
        model: "space_waiters::credit_wakes_its_sender",
        fails_with: "deadlock",
    },
    Mutant {
        name: "senders_of_ended_calls_woken_without_a_fence",
        file: "client/space.rs",
        edits: &[("        fence(Ordering::SeqCst);\n", "")],
        model: "space_waiters::the_end_of_a_call_wakes_its_sender",
        fails_with: "deadlock",
    },
];
