//! Mutants of the streams of a call.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "message_received_without_its_fence",
        file: "connection/flow.rs",
        edits: &[(
            "        // Pairs with the ones in `stop_reading` and `watch_reader`.\n        fence(Ordering::SeqCst);\n",
            "",
        )],
        model: "flow::what_comes_while_the_reader_stops_is_granted_once",
        fails_with: "a message is left that nobody reads",
    },
    Mutant {
        name: "reading_stopped_without_its_fence",
        file: "connection/flow.rs",
        edits: &[("        // Pairs with the fence in `receive`.\n        fence(Ordering::SeqCst);\n", "")],
        model: "flow::what_comes_while_the_reader_stops_is_granted_once",
        fails_with: "a message is left that nobody reads",
    },
    Mutant {
        name: "owed_by_load_and_store",
        file: "connection/flow.rs",
        edits: &[(
            "let owed = self.owed.fetch_add(cost, Ordering::Relaxed) + cost;",
            "let owed = self.owed.load(Ordering::Relaxed) + cost;\n        \
             self.owed.store(owed, Ordering::Relaxed);",
        )],
        model: "flow::what_comes_while_the_reader_stops_is_granted_once",
        fails_with: "each message is granted once",
    },
    Mutant {
        name: "granted_by_load_and_store",
        file: "connection/flow.rs",
        edits: &[(
            "let owed = self.owed.swap(0, Ordering::Relaxed);",
            "self.owed.store(0, Ordering::Relaxed);",
        )],
        model: "flow::what_comes_while_the_reader_stops_is_granted_once",
        fails_with: "each message is granted once",
    },
    Mutant {
        name: "reader_watches_without_its_fence",
        file: "connection/flow.rs",
        edits: &[("is not the last one.\n        fence(Ordering::SeqCst);\n", "is not the last one.\n")],
        model: "flow::a_message_wakes_the_reader_that_waits",
        fails_with: "deadlock",
    },
    Mutant {
        name: "end_looked_at_behind_the_messages",
        file: "models/flow.rs",
        edits: &[("} else if has_ended {", "} else if flow.has_ended() {")],
        model: "flow::the_end_is_behind_the_last_message",
        fails_with: "the last message came behind the end",
    },
];
