//! Source files as the rules of style see them: lines, each with its code and its comment apart.

use std::fs;
use std::path::Path;

/// One file of the repository.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/` between the parts.
    pub path: String,
    pub lines: Vec<Line>,
}

/// One line of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it stands in the file.
    pub text: String,
    /// Without comments; of literals only the quotes are left.
    pub code: String,
    /// What is in comments.
    pub comment: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), lines: split(text) }
    }

    /// The code of all lines, with a space between them.
    pub(crate) fn code(&self) -> String {
        self.lines.iter().map(|line| line.code.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// Directories that hold what people did not write by hand, or wrote to be read by machines.
const SKIPPED: [&str; 6] =
    [".git", "artifacts", "corpus", "crates/mmap-rpc-build/tests/golden", "fuzz/target", "target"];

/// Every `.rs` file of the repository, in the order of their paths.
pub(crate) fn repository() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut sources);
    sources.sort_by(|a: &Source, b| a.path.cmp(&b.path));
    sources
}

fn walk(dir: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository") {
        let entry = entry.expect("an entry of a directory");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the type of a file");
        if kind.is_dir() && !SKIPPED.contains(&path.as_str()) && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), sources);
        } else if kind.is_file() && name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a file in UTF-8");
            sources.push(Source::new(&path, &text));
        }
    }
}

/// What the next character belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// How deep comments are nested.
    BlockComment(usize),
    Text,
    /// How many `#` end it.
    RawText(usize),
}

/// Cuts a file into lines, and tells code from comments and literals as the compiler's first pass does.
fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let starts_with =
        |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut lines = vec![];
    let mut line = Line::default();
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' {
            lines.push(std::mem::take(&mut line));
            state = if state == State::LineComment { State::Code } else { state };
            at += 1;
            continue;
        }
        let mut taken = 1;
        match state {
            State::Code if starts_with(at, "//") => state = State::LineComment,
            State::Code if starts_with(at, "/*") => (state, taken) = (State::BlockComment(1), 2),
            State::Code if c == '"' => {
                // `r"`, `br#"`: the hashes before the quote count if an `r` is before them.
                let hashes = line.code.chars().rev().take_while(|c| *c == '#').count();
                let raw = line.code[..line.code.len() - hashes].ends_with('r');
                state = if raw { State::RawText(hashes) } else { State::Text };
                line.code.push('"');
            }
            State::Code if c == '\'' => {
                taken = char_literal(&chars[at..]);
                line.code.push_str(if taken > 1 { "''" } else { "'" });
            }
            State::Code => line.code.push(c),
            State::LineComment => line.comment.push(c),
            State::BlockComment(depth) if starts_with(at, "*/") => {
                (state, taken) = (if depth == 1 { State::Code } else { State::BlockComment(depth - 1) }, 2);
            }
            State::BlockComment(depth) if starts_with(at, "/*") => {
                (state, taken) = (State::BlockComment(depth + 1), 2);
            }
            State::BlockComment(_) => line.comment.push(c),
            // An escaped newline is still a line's end.
            State::Text if c == '\\' => taken = if chars.get(at + 1) == Some(&'\n') { 1 } else { 2 },
            State::Text if c == '"' => state = State::Code,
            State::RawText(hashes) if c == '"' && starts_with(at + 1, &"#".repeat(hashes)) => {
                (state, taken) = (State::Code, 1 + hashes);
            }
            State::Text | State::RawText(_) => {}
        }
        if state == State::Code && taken > 0 && chars[at] == '"' {
            line.code.push('"');
        }
        line.text.extend(&chars[at..(at + taken).min(chars.len())]);
        at += taken;
    }
    if line != Line::default() {
        lines.push(line);
    }
    lines
}

/// How many characters of a literal such as `'a'` or `'\u{1f}'` start here; 1 if it is a lifetime's quote.
fn char_literal(chars: &[char]) -> usize {
    match chars {
        [_, '\\', _, rest @ ..] => 4 + rest.iter().take_while(|c| **c != '\'').count(),
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let file = concat!(
        "let a = \"// no \\\" comment\"; // one\n",
        "/* two /* and */ two */ let b: &'a str = r#\"raw \" text\"#; let c = '\"';\n",
        "let d = \"over\n",
        "two lines\"; let e = '\\''; /// three",
    );
    let source = Source::new("x.rs", file);
    let codes: Vec<&str> = source.lines.iter().map(|line| line.code.trim()).collect();
    assert_eq!(codes[0], "let a = \"\";");
    assert_eq!(codes[1], "let b: &'a str = r#\"\"; let c = '';");
    assert_eq!(codes[2], "let d = \"");
    assert_eq!(codes[3], "\"; let e = '';");
    let comments: Vec<&str> = source.lines.iter().map(|line| line.comment.trim()).collect();
    assert_eq!(comments, ["/ one", "two  and  two", "", "// three"]);
    let texts: Vec<&str> = source.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts.join("\n"), file, "the text itself stays whole");
}
