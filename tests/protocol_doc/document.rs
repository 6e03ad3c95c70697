//! `docs/protocol.md` as tables, drawings and dumps, each with the comment that says how it is checked.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// A table, or what stands between two fences.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Number of its first line.
    pub(crate) line: usize,
    /// The words of the comment before it.
    pub(crate) kind: String,
    /// A table's header and rows; empty for a fence.
    pub(crate) rows: Vec<Vec<String>>,
    /// A fence's lines; empty for a table.
    pub(crate) lines: Vec<String>,
}

/// The document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) blocks: Vec<Block>,
    /// What is neither table nor fence nor comment, with line numbers.
    pub(crate) prose: Vec<(usize, String)>,
}

const BEGIN: &str = "<!-- check: ";
const END: &str = " -->";

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")
}

fn kind_of(line: &str) -> Option<&str> {
    line.strip_prefix(BEGIN)?.strip_suffix(END)
}

impl Document {
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string(path()).expect("the document")).unwrap_or_else(|why| panic!("{why}"))
    }

    /// # Errors
    /// A table or fence without a comment, and a comment without either.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut document = Self { blocks: Vec::new(), prose: Vec::new() };
        let mut kind: Option<&str> = None;
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
        while let Some((line, text)) = lines.next() {
            let mut block = Block { line, kind: String::new(), rows: Vec::new(), lines: Vec::new() };
            if text.starts_with("```") {
                block.lines.extend(
                    lines
                        .by_ref()
                        .map(|(_, line)| line.to_owned())
                        .take_while(|line| !line.starts_with("```")),
                );
            } else if text.starts_with('|') {
                block.rows.push(cells(text));
                while let Some((_, row)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                    block.rows.push(cells(row));
                }
                // The line of dashes.
                block.rows.remove(1);
            } else if let Some(unused) = kind {
                return Err(format!("docs/protocol.md:{}: nothing to be checked as {unused:?}", line - 1));
            } else {
                kind = kind_of(text);
                if kind.is_none() {
                    document.prose.push((line, text.to_owned()));
                }
                continue;
            }
            let known = kind.take();
            block.kind =
                known.ok_or(format!("docs/protocol.md:{line}: no comment says what this is"))?.into();
            document.blocks.push(block);
        }
        Ok(document)
    }

    /// The only block of a kind.
    pub(crate) fn block(&self, kind: &str) -> &Block {
        let mut of_kind = self.blocks.iter().filter(|block| block.kind == kind);
        let block = of_kind.next().unwrap_or_else(|| panic!("the document has no {kind:?}"));
        assert!(of_kind.next().is_none(), "the document has two of {kind:?}");
        block
    }
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// A number, in decimal or with `0x`.
pub(crate) fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// The numbers in a text: runs of digits that are not part of a word.
pub(crate) fn numbers(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())).map(number).collect()
}

impl Block {
    /// A table's rows without its header; each has as many cells as that.
    pub(crate) fn body(&self) -> &[Vec<String>] {
        assert!(!self.rows.is_empty(), "{self} is a table");
        for row in &self.rows {
            assert_eq!(row.len(), self.rows[0].len(), "{self}: {row:?}");
        }
        &self.rows[1..]
    }

    /// Two columns of a table, the first of them numbers.
    pub(crate) fn numbered(&self) -> Vec<(u64, &str)> {
        self.body().iter().map(|row| (number(&row[0]), row[1].as_str())).collect()
    }

    /// Checks that no number stands in a table's column from this one on: nothing would compare it.
    pub(crate) fn assert_words_from(&self, column: usize) {
        for cell in self.body().iter().flat_map(|row| &row[column..]) {
            assert!(numbers(cell).is_empty(), "{self}: a number that nothing compares: {cell}");
        }
    }

    /// The fields of a table of offsets.
    pub(crate) fn fields(&self) -> Vec<Field> {
        self.assert_words_from(3);
        let field =
            |row: &Vec<String>| Field { at: number(&row[0]), bytes: number(&row[1]), name: row[2].clone() };
        self.body().iter().map(field).collect()
    }

    /// The fields of a drawing: a line of offsets, and a line of names between bars.
    pub(crate) fn boxes(&self) -> Vec<Field> {
        let [offsets, names] = &self.lines[..] else { panic!("{self}: two lines") };
        let offsets: Vec<u64> = offsets.split_whitespace().map(number).collect();
        let names: Vec<&str> = names.split('│').map(str::trim).filter(|name| !name.is_empty()).collect();
        // An end may follow the last offset, and a field may lie behind all of them.
        assert!(offsets.len().abs_diff(names.len()) <= 1, "{self}: {offsets:?} for {names:?}");
        let end = |at: usize| offsets.get(at + 1).copied();
        let field = |(at, name): (usize, &&str)| Field {
            at: offsets.get(at).copied().unwrap_or(u64::MAX),
            bytes: end(at).map_or(0, |end| end - offsets[at]),
            name: (*name).to_owned(),
        };
        names.iter().enumerate().map(field).collect()
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "docs/protocol.md:{} ({})", self.line, self.kind)
    }
}

/// A field of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) name: String,
}

impl Field {
    pub(crate) fn end(&self) -> u64 {
        self.at + self.bytes
    }

    /// Its little-endian value in these bytes.
    pub(crate) fn value(&self, bytes: &[u8]) -> u64 {
        let mut value = [0; 8];
        let at = self.at as usize;
        value[..self.bytes as usize].copy_from_slice(&bytes[at..at + self.bytes as usize]);
        u64::from_le_bytes(value)
    }
}

/// A field by its name.
pub(crate) fn field<'a>(fields: &'a [Field], name: &str) -> &'a Field {
    fields.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no field {name:?}"))
}

/// Checks that fields follow each other without a gap, from one offset to another.
pub(crate) fn assert_seamless(fields: &[Field], start: u64, end: u64) {
    let mut at = start;
    for field in fields {
        assert_eq!(field.at, at, "{:?} does not follow the field before it", field.name);
        at = field.end();
    }
    assert_eq!(at, end, "the last field ends elsewhere");
}

/// Whether a text is what a pattern says, in which `…` stands for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…').map(str::trim);
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

/// Puts lines between the fences of some blocks.
pub(crate) fn replace(text: &str, dumps: &[(String, Vec<String>)]) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some((_, dump)) = dumps.iter().find(|(kind, _)| kind_of(line) == Some(kind)) else { continue };
        let fence = lines.next().expect("a fence after the comment");
        out.push_str(fence);
        out.push('\n');
        dump.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        out.push_str("```\n");
        let _ = lines.by_ref().find(|line| line.starts_with("```"));
    }
    out
}
