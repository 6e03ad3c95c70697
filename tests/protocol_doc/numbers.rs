//! Constants and layouts: headers, control words, the head of a file, and the drawings of them.

use std::collections::BTreeMap;

use mmap_rpc::internals::layout::{HEADER_BYTES, Layout, control_words, plan};
use mmap_rpc::internals::ring::{NEAR_BYTES, admit};
use mmap_rpc::internals::wire::{Frames, MAX_BODY, encode_frame};

use crate::document::{Block, Document, Field, assert_seamless, field, number, numbers};
use crate::session::{FILE, RING, SOCKET};
use crate::{messages, refusals};

/// What can be laid out.
fn fits(ring: u32, classes: &[(u64, u32)]) -> bool {
    plan(ring, classes).is_some()
}

fn layout(ring: u32, classes: &[(u64, u32)]) -> (Vec<u8>, Layout) {
    let (header, len) = plan(ring, classes).expect("it can be laid out");
    (header.to_vec(), Layout::validate(&header, len).expect("our own header"))
}

fn validate(header: &[u8], len: u64) -> Result<Layout, String> {
    Layout::validate(header.first_chunk::<HEADER_BYTES>().expect("a header"), len)
}

/// The largest number that something holds for, if it holds for all smaller ones.
fn largest(most: u64, holds: impl Fn(u64) -> bool) -> u64 {
    assert!(holds(1) && !holds(most));
    let (mut low, mut high) = (1, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        *if holds(middle) { &mut low } else { &mut high } = middle;
    }
    low
}

/// Entry size and the lengths of the sections whose words are packed.
pub(crate) fn section_bytes() -> [u64; 4] {
    let (_, layout) = layout(512, &[(64, 1)]);
    let [ring, control, ret, free] = layout.section_offsets();
    // The lowest place that slots can have is where the free words end.
    let (header, len) = plan(512, &[(64, 1)]).expect("it can be laid out");
    let at = 80 + 8;
    let slots_at = |offset: u64| {
        let mut moved = header.to_vec();
        assert_eq!(moved[at..at + 8], layout.classes()[0].offset.to_le_bytes(), "where a class says that");
        moved[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        validate(&moved, len).is_ok()
    };
    let end = (free..len).step_by(64).find(|&offset| slots_at(offset)).expect("a place for slots");
    [(control - ring) / 512, ret - control, free - ret, end - free]
}

pub(crate) fn constants(document: &Document, block: &Block) {
    let header = &RING.memory[0];
    let in_header = |name| field(&document.block("fields header").fields(), name).value(header);
    let in_file = |name| field(&document.block("fields file").fields(), name).value(&FILE.memory[0]);
    let request = messages::connect_request(&SOCKET);
    assert_eq!(request.min_version, request.max_version, "one version so far");
    let digits = MAX_BODY.to_string().len() as u64;
    let mut longer = Frames::new();
    longer.feed(&b"1".repeat(digits as usize + 1));
    longer.next_frame(|_| ()).expect_err("a length of more digits");
    encode_frame(&vec![0; MAX_BODY], &mut Vec::new()).expect("the longest frame");
    encode_frame(&vec![0; MAX_BODY + 1], &mut Vec::new()).expect_err("one byte more");
    let rings: Vec<u64> = (0..32).map(|bit| 1 << bit).filter(|&ring| fits(ring as u32, &[(64, 1)])).collect();
    assert!((2..1 << 20).all(|ring| fits(ring, &[(64, 1)]) == rings.contains(&ring.into())));
    let classes = |count: u64| (1..=count).map(|size| (size * 64, 1)).collect::<Vec<_>>();
    // Slots of more bytes than a page are whole pages.
    let page = (1..1024).map(|size| size * 64).find(|size| !fits(2, &[(size + 64, 1)])).expect("a page");
    let words = control_words();
    let expected: BTreeMap<&str, u64> = BTreeMap::from([
        ("PROTOCOL_VERSION", request.max_version.into()),
        ("LAYOUT_VERSION", in_header("layout version")),
        ("FILE_VERSION", in_file("version")),
        ("MAX_FRAME", MAX_BODY as u64),
        ("MAX_DIGITS", digits),
        ("MAX_FILE_DESCRIPTORS", refusals::most_descriptors()),
        ("MAX_CONNECTION_ID", messages::longest("DisconnectRequest.connection_id")),
        ("MAX_METHOD_NAME", messages::longest("RPCRequest.fully_qualified_method_name")),
        ("MAX_ERROR_TEXT", messages::longest("RPCResponse.error")),
        ("MAX_PATH", messages::longest("ConnectResponse.mmap_filename")),
        ("MAX_METADATA", messages::most_metadata()),
        ("MAX_CALLS", request.limits.expect("limits").max_in_flight.into()),
        ("PAGE", page),
        ("HEADER_BYTES", HEADER_BYTES as u64),
        ("ENTRY_BYTES", section_bytes()[0]),
        ("INLINE_BYTES", largest(1 << 20, |len| admit([1, 0, 0, 0, 0, len as u32, 0], [0; 12]).is_ok())),
        ("NEAR_BYTES", NEAR_BYTES),
        ("MIN_RING", rings[0]),
        ("MAX_RING", *rings.last().expect("some")),
        ("MAX_CLASSES", largest(64, |count| fits(2, &classes(count)))),
        ("SLOT_ALIGN", (1..4096).find(|&size| fits(2, &[(size, 1)])).expect("a slot")),
        ("HANDLES_PER_WORD", layout(2, &[(64, 1), (128, 1)]).1.classes()[1].first_handle.into()),
        ("HANDLE_WORDS", in_header("handle words")),
        ("MAX_HANDLES", largest(1 << 20, |count| fits(2, &[(64, count as u32)]))),
        ("CONTROL_LINE", words[1].1 - words[0].1),
        ("FILL_LINES", words.iter().filter(|(name, ..)| name.starts_with("level ")).count() as u64),
    ]);
    let stated: BTreeMap<&str, u64> =
        block.body().iter().map(|row| (row[0].as_str(), number(&row[1]))).collect();
    assert_eq!(stated, expected);
}

/// Values of the constants, as the document states them.
pub(crate) fn stated(document: &Document) -> Vec<u64> {
    document.block("constants").body().iter().map(|row| number(&row[1])).collect()
}

pub(crate) fn header(document: &Document, block: &Block) {
    let fields = block.fields();
    assert_seamless(&fields, 0, HEADER_BYTES as u64);
    // No two of these numbers are equal.
    let (bytes, layout) = layout(512, &[(64, 3), (128, 200), (8192, 5)]);
    let [ring, control, ret, free] = layout.section_offsets();
    for field in &fields {
        let expected = match field.name.as_str() {
            "magic" => u64::from_le_bytes(*b"mmaprpc\0"),
            "layout version" => 1,
            "entry size" => section_bytes()[0],
            "total length" => layout.total_len(),
            "ring offset" => ring,
            "control offset" => control,
            "return offset" => ret,
            "free offset" => free,
            "ring capacity" => layout.ring_capacity().into(),
            "handle words" => section_bytes()[2] / 8,
            "class count" => layout.classes().len() as u64,
            "features" => {
                assert_each_byte(&bytes, layout.total_len(), field, |_| "unknown feature bits".into());
                continue;
            }
            "zero" => {
                assert_each_byte(&bytes, layout.total_len(), field, |at| format!("unused byte {at} "));
                continue;
            }
            "class table" => {
                let record = document.block("fields class").fields().last().expect("fields").end();
                let most =
                    largest(64, |count| fits(2, &(1..=count).map(|size| (size * 64, 1)).collect::<Vec<_>>()));
                assert_eq!(field.bytes, most * record);
                continue;
            }
            other => panic!("no field of a header is called {other:?}"),
        };
        assert_eq!(field.value(&bytes), expected, "{}", field.name);
    }
    assert_eq!(fields.len(), 15);
}

/// Checks that a header is refused, in these words, if any byte of a field is not zero.
fn assert_each_byte(header: &[u8], len: u64, field: &Field, says: impl Fn(u64) -> String) {
    for at in field.at..field.end() {
        let mut bad = header.to_vec();
        bad[at as usize] ^= 1;
        let error = validate(&bad, len).expect_err("refused");
        assert!(error.starts_with(&says(at)), "byte {at}, {:?}: {error}", field.name);
    }
}

pub(crate) fn class(document: &Document, block: &Block) {
    let fields = block.fields();
    let table = document.block("fields header").fields();
    let start = field(&table, "class table").at;
    let record = fields.last().expect("fields").end();
    assert_seamless(&fields, 0, record);
    let (bytes, layout) = layout(512, &[(64, 3), (128, 200), (8192, 5)]);
    for (index, class) in layout.classes().iter().enumerate() {
        let at = (start + index as u64 * record) as usize;
        for field in &fields {
            let expected = match field.name.as_str() {
                "slot size" => class.slot_size,
                "offset of slot 0" => class.offset,
                "slot count" => class.slot_count.into(),
                "first handle" => class.first_handle.into(),
                "zero" => {
                    let inside = Field { at: field.at + at as u64, ..field.clone() };
                    assert_each_byte(&bytes, layout.total_len(), &inside, |at| format!("unused byte {at} "));
                    continue;
                }
                other => panic!("no field of a class is called {other:?}"),
            };
            assert_eq!(field.value(&bytes[at..]), expected, "{} of class {index}", field.name);
        }
    }
    assert_eq!(fields.len(), 5);
}

pub(crate) fn control(_: &Document, block: &Block) {
    let stated: Vec<_> =
        block.fields().into_iter().map(|field| (field.name, field.at, field.bytes)).collect();
    assert_eq!(stated, control_words());
}

pub(crate) fn sizes(_: &Document, block: &Block) {
    let [entry, control, ret, free] = section_bytes();
    for row in block.body() {
        let stated = numbers(&row[1]);
        let product: u64 = stated.iter().product();
        match row[0].as_str() {
            "ring" => assert_eq!(stated, [entry]),
            "control words" => assert_eq!((stated.len(), product), (2, control)),
            "return words" => assert_eq!((stated.len(), product), (2, ret)),
            "free words" => assert_eq!((stated.len(), product), (2, free)),
            "class" => assert!(stated.is_empty()),
            other => panic!("no section is called {other:?}"),
        }
    }
    assert_eq!(block.body().len(), 5);
}

/// The drawing of the base segment: a line with an offset before each section, and one with its name.
pub(crate) fn base_segment(_: &Document, block: &Block) {
    let header = &RING.memory[0];
    let layout = validate(header, header.len() as u64).expect("a header");
    let [ring, control, ret, free] = layout.section_offsets();
    let free_end = free + section_bytes()[3];
    let mut expected = vec![
        (0, "header".to_owned()),
        (ring, "ring".into()),
        (control, "control words".into()),
        (ret, "return words".into()),
        (free, "free words".into()),
        (free_end, "zero".into()),
    ];
    let classes = layout.classes();
    expected.extend(classes.iter().enumerate().map(|(at, class)| (class.offset, format!("class {at}"))));
    let offsets: Vec<u64> = block
        .lines
        .iter()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("0x")))
        .map(number)
        .collect();
    let rows: Vec<(String, u64)> = block
        .lines
        .iter()
        .filter_map(|line| {
            let mut cells = line.split('│').skip(1);
            let (name, rest) = (cells.next()?.trim().to_owned(), cells.next()?);
            Some((name, number(rest.split_whitespace().next().expect("its bytes"))))
        })
        .collect();
    assert_eq!(offsets.last(), Some(&layout.total_len()));
    assert_eq!(offsets.len(), expected.len() + 1);
    let named: Vec<(u64, String)> =
        offsets.iter().copied().zip(rows.iter().map(|(name, _)| name.clone())).collect();
    assert_eq!(named, expected);
    for (ends, (name, bytes)) in offsets.windows(2).zip(&rows) {
        assert_eq!(ends[1] - ends[0], *bytes, "bytes of {name}");
    }
}

pub(crate) fn base_classes(_: &Document, block: &Block) {
    let header = &RING.memory[0];
    let classes = validate(header, header.len() as u64).expect("a header").classes();
    let of = |(at, class): (usize, &mmap_rpc::internals::layout::SizeClass)| {
        vec![at as u64, class.slot_size, class.slot_count.into(), class.first_handle.into()]
    };
    let expected: Vec<_> = classes.iter().enumerate().map(of).collect();
    let stated: Vec<_> = block.lines[1..].iter().map(|line| numbers(line)).collect();
    assert_eq!(stated, expected);
}

/// The head of a file: the regions are where it says, and lie behind each other.
pub(crate) fn file(_: &Document, block: &Block) {
    let (fields, bytes) = (block.fields(), &FILE.memory[0]);
    let value = |name| field(&fields, name).value(bytes);
    assert_eq!(value("magic"), u64::from_le_bytes(*b"mmapfile"));
    assert_eq!(value("version"), 1);
    let (client, server) = (value("client offset"), value("server offset"));
    for (at, len) in [(client, value("client length")), (server, value("server length"))] {
        let header = &bytes[at as usize..][..HEADER_BYTES];
        validate(header, len).expect("the header of a region");
    }
    assert_eq!(client + value("client length"), server);
    assert_eq!(server + value("server length"), bytes.len() as u64);
    assert_seamless(&fields, 0, client);
    for zero in fields.iter().filter(|field| field.name == "zero") {
        assert!(bytes[zero.at as usize..zero.end() as usize].iter().all(|&byte| byte == 0));
    }
    let mut names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), 8);
}

/// A drawing of the fields of a table.
pub(crate) fn boxes(document: &Document, block: &Block) {
    let table = document.block(&block.kind.replace("box", "fields")).fields();
    assert_eq!(block.boxes(), table);
}

pub(crate) fn return_words(_: &Document, block: &Block) {
    let text = block.lines.join("\n");
    let after = |words: &str| {
        let rest = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?}"));
        numbers(rest.lines().next().expect("a line"))[0]
    };
    let (handle, word, bit) = (after("handle "), after("return word "), after("finds bit "));
    let first = layout(2, &[(64, 1), (128, 1)]).1.classes()[1].first_handle;
    assert_eq!((handle / u64::from(first), handle % u64::from(first)), (word, bit));
    assert_eq!(after("│ slot "), handle);
    assert!(text.contains(&format!("{handle} = {first} * {word} + {bit}")), "{text}");
    assert_eq!(after("at byte "), word * 8);
    assert_eq!(text.matches(&format!("bit {bit} ")).count(), 2);
}

pub(crate) fn fill(_: &Document, block: &Block) {
    let line = numbers(block.lines[0].split("line ").nth(1).expect("a line"))[0];
    let words = control_words();
    let of = |name: &str| {
        let name = format!("{name} {line}");
        words.iter().find(|(known, ..)| *known == name).expect("a word").1
    };
    let stated = numbers(block.lines.last().expect("lines"));
    assert_eq!(stated, [of("level"), of("given_up")]);
}
