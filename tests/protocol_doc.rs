//! `docs/protocol.md` against the code: every number in its tables and drawings, and every byte of its dumps.
//!
//! A comment before each table and each fence says what it is, and so which function here judges it. Most of
//! them ask the code's behaviour: a field of the document is where the code's own bytes have it, and a limit
//! is where the code begins to refuse. `BLESS=1 cargo test -p mmap-rpc --test protocol_doc` takes the dumps
//! anew; read the difference before it is committed.

#[path = "protocol_doc/document.rs"]
mod document;
#[path = "protocol_doc/dump.rs"]
mod dump;
#[path = "protocol_doc/memory.rs"]
mod memory;
#[path = "protocol_doc/messages.rs"]
mod messages;
#[path = "protocol_doc/numbers.rs"]
mod numbers;
#[path = "protocol_doc/refusals.rs"]
mod refusals;
#[path = "protocol_doc/session.rs"]
mod session;
#[path = "protocol_doc/streams.rs"]
mod streams;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{env, fs};

use document::{Block, Document, path, replace};
use dump::Schema;
use session::{
    CLASSIC, FILE, RING, RING_METADATA, RING_STREAMS, SOCKET, SOCKET_METADATA, SOCKET_STREAMS, Session,
};

/// What a block is checked by.
type Check = fn(&Document, &Block);

/// Every kind of block that the document has, but for messages, dumps and prose.
const CHECKS: [(&str, Check); 32] = [
    ("box classic-frame", messages::classic_frame),
    ("box descriptor", numbers::boxes),
    ("box entry", numbers::boxes),
    ("box file", numbers::boxes),
    ("classic-errors", refusals::classic_errors),
    ("classic-messages", messages::classic_messages),
    ("codes", messages::codes),
    ("constants", numbers::constants),
    ("descriptors", messages::descriptors),
    ("drawing base-classes", numbers::base_classes),
    ("drawing base-segment", numbers::base_segment),
    ("drawing fill", numbers::fill),
    ("drawing return-words", numbers::return_words),
    ("entry-checks", memory::entry_checks),
    ("features", messages::features),
    ("fields class", numbers::class),
    ("fields control", numbers::control),
    ("fields descriptor", memory::descriptor),
    ("fields entry", memory::entry),
    ("fields file", numbers::file),
    ("fields header", numbers::header),
    ("flags", memory::flags),
    ("kinds", memory::kinds),
    ("lengths", messages::lengths),
    ("metadata-bytes", memory::metadata_bytes),
    ("order", streams::order),
    ("refusals", refusals::refusals),
    ("seals", messages::seals),
    ("sizes", numbers::sizes),
    ("telling", messages::telling),
    ("type-urls", messages::type_urls),
    ("violations", refusals::violations),
];

/// Numbers from this one on may stand in prose only if they are constants of the protocol.
const LARGE: u64 = 100;

/// A number in prose is a constant, or small. What begins with a zero is none: a file's mode, or hex.
fn assert_prose(document: &Document, place: &str, text: &str) {
    let known = numbers::stated(document);
    let words = text.split(' ').filter(|word| !word.trim_start_matches('`').starts_with('0'));
    for number in words.flat_map(document::numbers).filter(|&number| number >= LARGE) {
        assert!(known.contains(&number), "{place}: {number} is no constant of the protocol: {text}");
    }
}

fn check(document: &Document, block: &Block) {
    let kind = block.kind.as_str();
    if kind == "prose" || kind == "flow" {
        let text = block.rows.iter().flatten().chain(&block.lines);
        text.for_each(|text| assert_prose(document, kind, text));
    } else if kind.starts_with("message ") {
        messages::message(document, block);
    } else if kind.starts_with("hex ") {
        assert!(dumps().iter().any(|(known, _)| known == kind), "no dump is called {kind:?}");
    } else {
        let known = CHECKS.iter().find(|(known, _)| *known == kind);
        known.unwrap_or_else(|| panic!("nothing is known of a {kind:?}")).1(document, block);
    }
}

#[test]
fn what_stands_in_tables_and_drawings_is_what_the_code_does() {
    let document = Document::read();
    let fails = |block: &&Block| catch_unwind(AssertUnwindSafe(|| check(&document, block))).is_err();
    let failed: Vec<String> = document.blocks.iter().filter(fails).map(Block::to_string).collect();
    assert!(failed.is_empty(), "wrong, for the reasons above:\n{}", failed.join("\n"));
    let found: BTreeSet<&str> = document.blocks.iter().map(|block| block.kind.as_str()).collect();
    for (kind, _) in CHECKS {
        assert!(found.contains(kind), "the document has no {kind:?}");
        document.block(kind);
    }
}

#[test]
fn numbers_in_prose_are_constants() {
    let document = Document::read();
    for (line, text) in &document.prose {
        assert_prose(&document, &format!("docs/protocol.md:{line}"), text);
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ');
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let text = fs::read_to_string(path()).expect("the document");
    let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
    let named = text.split("<a id=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("").to_owned());
    let anchors: BTreeSet<String> = headings.chain(named).collect();
    let folder = path().parent().expect("a folder").to_owned();
    for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or("")) {
        let leads = match link.strip_prefix('#') {
            Some(inside) => anchors.contains(inside),
            None => folder.join(link).exists(),
        };
        assert!(leads, "{link} leads nowhere");
    }
}

/// Every dump of the document, as a session makes it now.
fn dumps() -> Vec<(String, Vec<String>)> {
    let schema = Schema::new();
    // Without the handshake, which is the ring lane's but for a feature, and without the farewell.
    let calls = |session: &Session| dump::netstrings(&schema, &session.frames[2..session.frames.len() - 1]);
    let dumps = [
        ("ring-frames", dump::netstrings(&schema, &RING.frames)),
        ("ring-header", memory::ring_header()),
        ("ring-requests", memory::ring_entries(&RING, 0)),
        ("ring-replies", memory::ring_entries(&RING, 1)),
        ("ring-slot", memory::ring_slot()),
        ("metadata-requests", memory::ring_entries(&RING_METADATA, 0)),
        ("metadata-replies", memory::ring_entries(&RING_METADATA, 1)),
        ("stream-requests", memory::ring_entries(&RING_STREAMS, 0)),
        ("stream-replies", memory::ring_entries(&RING_STREAMS, 1)),
        ("growth-frames", calls(&SOCKET)),
        ("metadata-frames", calls(&SOCKET_METADATA)),
        ("stream-frames", calls(&SOCKET_STREAMS)),
        ("file-frames", dump::netstrings(&schema, &FILE.frames)),
        ("file-memory", memory::file_region(false)),
        ("file-server", memory::file_region(true)),
        ("classic-frames", dump::classics(&schema, &CLASSIC.frames)),
        ("classic-file", memory::classic_memory()),
    ];
    dumps.into_iter().map(|(name, lines)| (format!("hex {name}"), lines)).collect()
}

#[test]
fn dumps_are_those_of_a_session_now() {
    let dumps = dumps();
    let text = fs::read_to_string(path()).expect("the document");
    let now = replace(&text, &dumps);
    if env::var_os("BLESS").is_some() {
        // Whole or not at all: other tests read it at this moment.
        let beside = path().with_extension("new");
        fs::write(&beside, &now).expect("a writable folder");
        return fs::rename(beside, path()).expect("a writable file");
    }
    let command = "if it is wanted: BLESS=1 cargo test -p mmap-rpc --test protocol_doc";
    let document = Document::read();
    for (kind, lines) in &dumps {
        let block = document.block(kind);
        let differs = block.lines.iter().zip(lines).position(|(stated, now)| stated != now);
        let at = differs.unwrap_or(block.lines.len().min(lines.len()));
        let (stated, now) = (block.lines.get(at), lines.get(at));
        assert!(block.lines == *lines, "{block}, line {at}: {stated:?}, now {now:?}\n{command}");
    }
}

#[test]
fn a_block_needs_a_comment_and_a_comment_a_block() {
    let table = "<!-- check: codes -->\n| a | b |\n|---|---|\n| 1 | c |\n";
    let good = format!("text\n\n{table}\n<!-- check: flow -->\n```\nx\n```\n");
    assert_eq!(Document::parse(&good).unwrap().blocks.len(), 2);
    for comment in ["<!-- check: codes -->\n", "<!-- check: flow -->\n"] {
        Document::parse(&good.replace(comment, "")).expect_err("a block that nobody checks");
    }
    Document::parse(&good.replace("```\nx\n```\n", "no fence\n")).expect_err("a comment about nothing");
}

#[test]
fn a_dump_replaces_what_stood_between_its_fences() {
    let text = "a\n<!-- check: hex x -->\n```text\nold\nold\n```\nb\n";
    let dumps = [("hex x".to_owned(), vec!["new".to_owned()])];
    assert_eq!(replace(text, &dumps), text.replace("old\nold", "new"));
}

#[test]
fn dots_in_a_pattern_stand_for_anything() {
    for (pattern, text, expected) in [
        ("a … c", "a b c", true),
        ("a … c", "a b c d", false),
        ("a …", "a b", true),
        ("a", "a b", false),
        ("… b", "a b", true),
        ("a … x …", "a b", false),
    ] {
        assert_eq!(document::matches(pattern, text), expected, "{pattern}: {text}");
    }
}
