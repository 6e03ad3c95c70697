//! Mutants of the slab allocator: claims, returns, and what a hostile peer may try.

use super::Mutant;

pub(crate) const MUTANTS: &[Mutant] = &[
    // Claims: one word of free bits.
    Mutant {
        name: "claim_mask_dropped",
        file: "slab/bitset.rs",
        edits: &[(
            "if word.fetch_and(!bit, Ordering::Acquire) & bit != 0 {",
            "if word.fetch_and(!bit, Ordering::Acquire) != 0 {",
        )],
        model: "slab::claim_claim_abort",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "claim_by_load_check_clear",
        file: "slab/bitset.rs",
        edits: &[(
            "if word.fetch_and(!bit, Ordering::Acquire) & bit != 0 {",
            "word.store(free & !bit, Ordering::Release); if free & bit != 0 {",
        )],
        model: "slab::claim_claim_abort",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "claim_takes_the_whole_word",
        file: "slab/bitset.rs",
        edits: &[(
            "if word.fetch_and(!bit, Ordering::Acquire) & bit != 0 {",
            "if word.fetch_and(0, Ordering::Acquire) & bit != 0 {",
        )],
        model: "slab::claim_claim_abort",
        fails_with: "a slot was free all the time",
    },
    Mutant {
        name: "claim_relaxed",
        file: "slab/bitset.rs",
        edits: &[(
            "if word.fetch_and(!bit, Ordering::Acquire) & bit != 0 {",
            "if word.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {",
        )],
        model: "slab::claim_claim_abort",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "free_relaxed",
        file: "slab/bitset.rs",
        edits: &[("word.fetch_or(bits, Ordering::Release);", "word.fetch_or(bits, Ordering::Relaxed);")],
        model: "slab::claim_claim_abort",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "batch_keeps_what_it_did_not_take",
        file: "slab/bitset.rs",
        edits: &[(
            "let took = word.fetch_and(!wanted, Ordering::Acquire) & wanted;",
            "word.fetch_and(!wanted, Ordering::Acquire); let took = wanted;",
        )],
        model: "slab::batch_beside_claim",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "claim_without_a_second_look",
        file: "slab/allocator.rs",
        edits: &[("if self.slot_size(word) != slot_size {", "if false {")],
        model: "slab::claim_beside_retirement",
        fails_with: "a slot of another size",
    },
    // Returns: flip, harvest, release by reply.
    Mutant {
        name: "inflight_set_after_seq",
        file: "models/slab.rs",
        edits: &[(
            "        self.slab.publish(handle);\n        self.seq.store(seq, Ordering::Release);\n",
            "        self.seq.store(seq, Ordering::Release);\n        self.slab.publish(handle);\n",
        )],
        model: "slab::send_beside_harvest",
        fails_with: "ForgedReturn",
    },
    Mutant {
        name: "inflight_read_before_ret",
        file: "slab/returns.rs",
        edits: &[
            (
                "        let ret = view.ret[word].load(Ordering::Relaxed);",
                "        let early = self.inflight[word].0.load(Ordering::Relaxed);\n        let ret = view.ret[word].load(Ordering::Relaxed);",
            ),
            ("if diff & !old != 0 {", "let old = early; if diff & !old != 0 {"),
        ],
        model: "slab::send_beside_harvest",
        fails_with: "ForgedReturn",
    },
    Mutant {
        name: "harvest_frees_before_inflight_is_cleared",
        file: "slab/returns.rs",
        edits: &[
            ("        bitset::give(&view.free[word].0, diff);\n", ""),
            (
                "        let old = self.inflight[word].0.fetch_and(!diff, Ordering::Relaxed);",
                "        bitset::give(&view.free[word].0, diff);\n        let old = self.inflight[word].0.fetch_and(!diff, Ordering::Relaxed);",
            ),
        ],
        model: "slab::second_flight_outlives_the_first",
        fails_with: "published twice",
    },
    Mutant {
        name: "release_frees_before_inflight_is_cleared",
        file: "slab/returns.rs",
        edits: &[
            ("        bitset::give(&view.free[handle.word()].0, handle.mask());\n", ""),
            (
                "        let old = self.inflight[handle.word()].0.fetch_and(!handle.mask(), Ordering::Relaxed);",
                "        bitset::give(&view.free[handle.word()].0, handle.mask());\n        let old = self.inflight[handle.word()].0.fetch_and(!handle.mask(), Ordering::Relaxed);",
            ),
        ],
        model: "slab::second_flight_outlives_the_first",
        fails_with: "published twice",
    },
    Mutant {
        name: "flip_by_load_and_store",
        file: "slab/returns.rs",
        edits: &[(
            "own_ret[handle.word()].fetch_xor(handle.mask(), Ordering::Release);",
            "let own = &own_ret[handle.word()];\n    own.store(own.load(Ordering::Relaxed) ^ handle.mask(), Ordering::Release);",
        )],
        model: "slab::two_readers_of_one_word",
        fails_with: "Freed(1)",
    },
    Mutant {
        name: "flip_relaxed",
        file: "slab/returns.rs",
        edits: &[(
            "fetch_xor(handle.mask(), Ordering::Release)",
            "fetch_xor(handle.mask(), Ordering::Relaxed)",
        )],
        model: "slab::slot_reused_after_a_flip",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "harvest_without_its_fence",
        file: "slab/returns.rs",
        edits: &[("        fence(Ordering::Acquire);\n", "")],
        model: "slab::slot_reused_after_a_flip",
        fails_with: "Causality violation",
    },
    Mutant {
        name: "harvest_without_its_lock",
        file: "slab/returns.rs",
        edits: &[("is_ours.then(", "(is_ours || true).then(")],
        model: "slab::two_harvesters",
        fails_with: "ForgedReturn",
    },
    Mutant {
        name: "harvest_lock_released_relaxed",
        file: "slab/returns.rs",
        edits: &[(
            "self.state.compare_exchange(HELD, 0, Ordering::Release, Ordering::Relaxed).is_ok();",
            "self.state.compare_exchange(HELD, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();",
        )],
        model: "slab::two_harvesters",
        fails_with: "ForgedReturn",
    },
    Mutant {
        name: "busy_harvest_asks_nobody",
        file: "slab/returns.rs",
        edits: &[(
            "state.fetch_or(HELD | ASKED, Ordering::AcqRel) & HELD == 0;",
            "state.compare_exchange(0, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok();",
        )],
        model: "slab::return_beside_two_harvests",
        fails_with: "nobody knows of the slot",
    },
    Mutant {
        name: "harvest_answers_before_it_has_acquired",
        file: "slab/returns.rs",
        edits: &[(
            "self.state.fetch_and(!ASKED, Ordering::Acquire);",
            "self.state.fetch_and(!ASKED, Ordering::Relaxed);",
        )],
        model: "slab::return_beside_two_harvests",
        fails_with: "nobody knows of the slot",
    },
    // Hostile words and replies.
    Mutant {
        name: "release_by_load_check_clear",
        file: "slab/returns.rs",
        edits: &[
            (
                "let old = self.inflight[handle.word()].0.fetch_and(!handle.mask(), Ordering::Relaxed);",
                "let old = self.inflight[handle.word()].0.load(Ordering::Relaxed);",
            ),
            (
                "        // After the bit is cleared: see",
                "        self.inflight[handle.word()].0.store(old & !handle.mask(), Ordering::Relaxed);\n        // After the bit is cleared: see",
            ),
        ],
        model: "slab::released_by_flip_and_by_reply",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "release_frees_what_it_did_not_take",
        file: "slab/returns.rs",
        edits: &[("if old & handle.mask() == 0 {", "if false {")],
        model: "slab::released_by_flip_and_by_reply",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "harvest_frees_what_it_did_not_take",
        file: "slab/returns.rs",
        edits: &[("if diff & !old != 0 {", "if false {")],
        model: "slab::hostile_words_and_replies",
        fails_with: "handed out twice",
    },
    Mutant {
        name: "hostile_release_of_a_loan",
        file: "slab/returns.rs",
        edits: &[("if old & handle.mask() == 0 {", "if false {")],
        model: "slab::hostile_words_and_replies",
        fails_with: "handed out twice",
    },
];
