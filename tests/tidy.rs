//! Style as a test: what every source file of this repository promises its reader.
//!
//! A rule is a function from files to complaints. Each has two tests: the repository has none, and a bad
//! text has one. Whoever breaks a rule for a reason changes the rule here, where the reason can be read.

#[path = "tidy/source.rs"]
mod source;

use source::{Source, repository};

/// Lines after which a file is asked whether it holds two ideas.
const MAX_LINES: usize = 500;

/// Characters of the longest line.
const MAX_WIDTH: usize = 110;

/// The files that may contain `unsafe`, sorted: each of them says why at every use.
const UNSAFE_FILES: &[&str] = &[
    "crates/mmap-rpc-cli/src/allocations.rs",
    "crates/mmap-rpc-cli/src/transports/raw.rs",
    "crates/mmap-rpc-cli/src/transports/ring.rs",
    "crates/mmap-rpc-cli/src/transports/shared.rs",
    "crates/models/src/models/fill.rs",
    "crates/models/src/models/ring.rs",
    "crates/models/src/models/slab.rs",
    "crates/rivals/src/rows/iceoryx2.rs",
    "examples/cache/src/compare/floor.rs",
    "src/client/calls.rs",
    "src/client/calls/cell.rs",
    "src/client/lead.rs",
    "src/connection/handshake.rs",
    "src/connection/link.rs",
    "src/connection/received.rs",
    "src/connection/region.rs",
    "src/connection/segments.rs",
    "src/connection/send.rs",
    "src/connection/writer.rs",
    "src/layout/copy.rs",
    "src/layout/copy/tests.rs",
    "src/layout/prefetch.rs",
    "src/layout/view.rs",
    "src/os/credentials.rs",
    "src/os/fork.rs",
    "src/os/mapping.rs",
    "src/os/memfd.rs",
    "src/os/readiness.rs",
    "src/raw/payload.rs",
    "src/ring/entry.rs",
    "src/ring/record.rs",
    "src/rpc/file.rs",
    "src/rpc/pool.rs",
    "src/rpc/private.rs",
    "tests/streams/fork.rs",
];

/// Top-level modules from the ground up. A module imports from lower rows, never from its own or higher ones.
const LAYERS: &[&[&str]] = &[
    &["sync", "error"],
    &["os"],
    &["layout"],
    &["wire", "ring", "slab"],
    &["rpc"],
    &["connection"],
    &["raw", "streaming"],
    &["client", "server"],
    &["health", "internals", "testing"],
];

/// Imports that go down and are forbidden all the same: control messages know nothing of a region's bytes,
/// and those nothing of the system.
const FORBIDDEN_IMPORTS: &[(&str, &str)] = &[("wire", "layout"), ("layout", "os")];

/// Marks of unfinished work.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimpl", "emented!("),
    concat!("db", "g!"),
];

/// Directories that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk"),
    concat!("/tm", "p/wt"),
    concat!("/tm", "p/plan"),
    concat!("/tm", "p/target"),
    concat!("/ro", "ot"),
    concat!("/ho", "me"),
];

/// Words about how the code came to be, which say nothing about the code.
const HISTORY: &[&str] = &[concat!("issue ", "#"), concat!("session", " of")];

type Complaints = Vec<String>;

/// One complaint for each line that `is_bad`.
fn bad_lines(sources: &[Source], rule: &str, is_bad: impl Fn(&source::Line) -> bool) -> Complaints {
    let lines =
        sources.iter().flat_map(|source| source.lines.iter().enumerate().map(move |line| (source, line)));
    let bad = lines.filter(|(_, (_, line))| is_bad(line));
    bad.map(|(source, (at, _))| format!("{}:{}: {rule}", source.path, at + 1)).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifiers and numbers of some code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn without_module_doc(sources: &[Source]) -> Complaints {
    let bare = |source: &&Source| !source.lines.first().is_some_and(|line| line.text.starts_with("//! "));
    sources
        .iter()
        .filter(bare)
        .map(|source| format!("{}: does not start with a `//!` line", source.path))
        .collect()
}

fn too_long(sources: &[Source]) -> Complaints {
    let long = sources.iter().filter(|source| source.lines.len() > MAX_LINES);
    long.map(|source| format!("{}: {} lines: is this two ideas?", source.path, source.lines.len())).collect()
}

/// An unsafe block or impl whose statement has no `SAFETY:` in it before, nor in the comment above it.
fn without_safety(sources: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            let opens = line.code.contains("unsafe {") || line.code.contains("unsafe impl");
            if opens && !is_explained(&source.lines[..=at]) {
                complaints.push(format!("{}:{}: unsafe without a `SAFETY:` comment", source.path, at + 1));
            }
        }
    }
    complaints
}

/// Whether the comment above the last line's statement, or inside of it, states a safety argument.
fn is_explained(lines: &[source::Line]) -> bool {
    let Some((last, above)) = lines.split_last() else { return false };
    let same_statement = |line: &&source::Line| {
        let code = line.code.trim();
        let attribute = code.starts_with("#[");
        let comment = code.is_empty() && !line.comment.is_empty();
        comment || attribute || !(code.is_empty() || code.ends_with([';', '{', '}', ',']))
    };
    let mut statement = above.iter().rev().take_while(same_statement);
    last.comment.contains("SAFETY:") || statement.any(|line| line.comment.contains("SAFETY:"))
}

/// Files with `unsafe` that are not in the list, and files of the list without any.
fn wrong_unsafe_list(sources: &[Source], list: &[&str]) -> Complaints {
    let has_unsafe = |source: &&Source| words(&source.code()).any(|word| word == "unsafe");
    let found: Vec<&str> = sources.iter().filter(has_unsafe).map(|source| source.path.as_str()).collect();
    let unlisted = found.iter().filter(|path| !list.contains(path));
    let unlisted = unlisted.map(|path| format!("{path}: unsafe code in a file that is not in UNSAFE_FILES"));
    let idle = list.iter().filter(|path| !found.contains(path));
    let idle = idle.map(|path| format!("{path}: in UNSAFE_FILES, without any unsafe code"));
    let unsorted = list.windows(2).filter(|pair| pair[0] >= pair[1]);
    let unsorted = unsorted.map(|pair| format!("UNSAFE_FILES: {} stands after {}", pair[1], pair[0]));
    unlisted.chain(idle).chain(unsorted).collect()
}

/// The model checker's name in code. Comments may explain, and our own `cfg` is another word.
fn names_loom(sources: &[Source]) -> Complaints {
    let allowed = |path: &str| path == "src/sync.rs" || path.starts_with("crates/models/");
    let others = sources.iter().filter(|source| !allowed(&source.path));
    let bad = others.filter(|source| words(&source.code()).any(|word| word == "loom"));
    bad.map(|source| format!("{}: names loom: src/sync.rs is the one file that does", source.path)).collect()
}

/// The top-level module that a file belongs to; `None` outside of the library's modules.
fn layer_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let top = inner.split('/').next()?;
    (!matches!(top, "lib.rs" | "main.rs" | "bin")).then(|| top.strip_suffix(".rs").unwrap_or(top))
}

/// How many modules a file lies below the crate's root.
fn depth(path: &str) -> usize {
    let parts = path.strip_prefix("src/").unwrap_or(path).split('/').count();
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The names that follow the crate's root in the paths of some code, groups in braces included.
fn root_imports(source: &Source) -> Vec<String> {
    let code: String = source.code().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut roots = vec!["crate::".to_owned()];
    // As many steps up as lead out of the file's own top-level module; one more from an inline module.
    roots.extend([0, 1].map(|inline| "super::".repeat(depth(&source.path) + inline)));
    let mut names = Vec::new();
    for root in &roots {
        for (at, _) in code.match_indices(root) {
            let in_the_middle = code[..at].ends_with(is_word) || code[..at].ends_with("::");
            let rest = &code[at + root.len()..];
            if in_the_middle || rest.starts_with("super::") {
                continue;
            }
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group_names(group)),
                None => {
                    names.extend(words(rest).next().filter(|name| rest.starts_with(name)).map(str::to_owned))
                }
            }
        }
    }
    names
}

/// The first name of each path in a group, up to the group's closing brace.
fn group_names(group: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut nested = 0;
    for c in group.chars() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => names.push(String::new()),
            _ if nested == 0 => names.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    names.iter().filter_map(|path| words(path).next()).map(str::to_owned).collect()
}

fn imports_upwards(sources: &[Source]) -> Complaints {
    let row = |layer: &str| LAYERS.iter().position(|row| row.contains(&layer));
    let mut complaints = Vec::new();
    for source in sources {
        let Some(own) = layer_of(&source.path) else { continue };
        let Some(own_row) = row(own) else {
            complaints.push(format!("{}: `{own}` is not in LAYERS", source.path));
            continue;
        };
        for name in root_imports(source).into_iter().filter(|name| name != own) {
            let down = row(&name).is_some_and(|row| row < own_row);
            if !down || FORBIDDEN_IMPORTS.contains(&(own, &name)) {
                complaints.push(format!("{}: `{own}` imports `{name}`, which is not below it", source.path));
            }
        }
    }
    complaints
}

fn unfinished(sources: &[Source]) -> Complaints {
    bad_lines(sources, "unfinished", |line| UNFINISHED.iter().any(|mark| line.text.contains(mark)))
}

/// A path that starts with a machine's own directory; the same words inside of a longer path are fine.
fn names_a_machine(sources: &[Source]) -> Complaints {
    let starts_here = |text: &str, path: &str| {
        text.match_indices(path).any(|(at, _)| {
            !text[..at].ends_with(|c| is_word(c) || c == '.') && !text[at + path.len()..].starts_with(is_word)
        })
    };
    bad_lines(sources, "names a path of one machine", |line| {
        MACHINE_PATHS.iter().any(|path| starts_here(&line.text, path))
    })
}

fn bad_spaces(sources: &[Source]) -> Complaints {
    bad_lines(sources, "a tab, or a space at the end", |line| {
        line.text.contains('\t') || line.text.ends_with(char::is_whitespace)
    })
}

/// Lines that could be broken and are not: addresses, rows of tables in comments and one long literal cannot.
fn too_wide(sources: &[Source]) -> Complaints {
    bad_lines(sources, "wider than 110 characters", |line| {
        let literal = line.text.contains('"') && line.code.chars().count() <= MAX_WIDTH / 2;
        let table =
            line.code.trim().is_empty() && line.comment.trim_start_matches(['/', '!', ' ']).starts_with('|');
        line.text.chars().count() > MAX_WIDTH && !(literal || table || line.text.contains("://"))
    })
}

fn tells_history(sources: &[Source]) -> Complaints {
    bad_lines(sources, "tells how the code came to be", |line| {
        HISTORY.iter().any(|word| line.text.contains(word))
    })
}

#[track_caller]
fn assert_none(complaints: Complaints) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The number of complaints about one file.
fn count(rule: impl Fn(&[Source]) -> Complaints, path: &str, text: &str) -> usize {
    rule(&[Source::new(path, text)]).len()
}

#[test]
fn the_walk_finds_the_repository() {
    let paths: Vec<String> = repository().into_iter().map(|source| source.path).collect();
    for path in
        ["build.rs", "src/lib.rs", "src/ring/tests/words.rs", "tests/tidy.rs", "crates/models/src/lib.rs"]
    {
        assert!(paths.iter().any(|found| found == path), "{path} is missing from {paths:?}");
    }
    assert!(paths.iter().all(|path| !path.starts_with("target") && !path.contains("/golden/")));
}

#[test]
fn every_file_says_what_it_is() {
    assert_none(without_module_doc(&repository()));
}

#[test]
fn a_file_without_a_module_doc_is_found() {
    assert_eq!(count(without_module_doc, "src/x.rs", "//! An idea.\nfn f() {}\n"), 0);
    assert_eq!(count(without_module_doc, "src/x.rs", "fn f() {}\n//! Late.\n"), 1);
    assert_eq!(count(without_module_doc, "src/x.rs", ""), 1);
}

#[test]
fn every_file_is_one_idea() {
    assert_none(too_long(&repository()));
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(count(too_long, "src/x.rs", &"\n".repeat(MAX_LINES)), 0);
    assert_eq!(too_long(&[Source::new("x.rs", &"\n".repeat(501))]), ["x.rs: 501 lines: is this two ideas?"]);
}

#[test]
fn every_unsafe_states_why_it_is_sound() {
    assert_none(without_safety(&repository()));
}

#[test]
fn an_unsafe_without_a_reason_is_found() {
    let rule = |text| count(without_safety, "src/x.rs", text);
    assert_eq!(rule("// SAFETY: so.\nunsafe { f() };\n"), 0);
    assert_eq!(rule("// SAFETY: so,\n// and so.\n#[allow(x)]\nlet a =\n    unsafe { f() };\n"), 0);
    assert_eq!(rule("unsafe { f() };\n"), 1);
    assert_eq!(rule("// Safe, surely.\nunsafe impl Send for X {}\n"), 1);
    assert_eq!(rule("// SAFETY: so.\nunsafe impl Send for X {}\nunsafe impl Sync for X {}\n"), 1);
    assert_eq!(rule("// SAFETY: so.\nlet a = 1;\nlet b = unsafe { f() };\n"), 1);
    assert_eq!(rule("// SAFETY: so.\n\nunsafe { f() };\n"), 1);
    assert_eq!(rule("let a = \"unsafe { f() }\"; // unsafe {\n"), 0);
}

#[test]
fn unsafe_lives_in_listed_files() {
    assert_none(wrong_unsafe_list(&repository(), UNSAFE_FILES));
}

#[test]
fn a_wrong_list_of_unsafe_files_is_found() {
    let rule = |text: &str, list: &[&str]| wrong_unsafe_list(&[Source::new("src/b.rs", text)], list).len();
    assert_eq!(rule("unsafe fn f() {}", &["src/b.rs"]), 0);
    assert_eq!(rule("unsafe fn f() {}", &[]), 1);
    assert_eq!(rule("#![forbid(unsafe_code)] // unsafe", &[]), 0);
    assert_eq!(rule("fn f() {}", &["src/b.rs"]), 1);
    assert_eq!(rule("unsafe fn f() {}", &["src/b.rs", "src/a.rs"]), 2);
}

#[test]
fn one_file_names_loom() {
    assert_none(names_loom(&repository()));
}

#[test]
fn another_file_that_names_loom_is_found() {
    assert_eq!(count(names_loom, "src/ring/entry.rs", "use loom::thread;\n"), 1);
    assert_eq!(count(names_loom, "src/sync.rs", "use loom::thread;\n"), 0);
    assert_eq!(count(names_loom, "crates/models/src/lib.rs", "use loom::thread;\n"), 0);
    assert_eq!(count(names_loom, "src/ring/entry.rs", "#[cfg(mmap_rpc_loom)] // as loom has it\n"), 0);
}

#[test]
fn imports_go_down() {
    assert_none(imports_upwards(&repository()));
}

#[test]
fn an_import_that_goes_up_or_aside_is_found() {
    let rule = |path, text| count(imports_upwards, path, text);
    assert_eq!(rule("src/slab/a.rs", "use crate::layout::words::X; use crate::slab::Y;"), 0);
    assert_eq!(rule("src/slab/a.rs", "use crate::ring::X;"), 1);
    assert_eq!(rule("src/slab/a.rs", "fn f() { crate::rpc::x(crate::client::y()) }"), 2);
    assert_eq!(rule("src/slab.rs", "use crate::{error::{client, X}, ring::{self, server}, wire};"), 2);
    assert_eq!(rule("src/slab/mod.rs", "use crate::{\n    sync::X,\n    server,\n};"), 1);
    assert_eq!(rule("src/slab/a/b.rs", "use super::super::ring; use super::super::super::ring::X;"), 1);
    assert_eq!(rule("src/slab/mod.rs", "mod tests { use super::super::wire; use super::*; }"), 1);
    assert_eq!(rule("src/error.rs", "use crate::sync::X;"), 1);
    assert_eq!(rule("src/wire/a.rs", "use crate::layout::Handle;"), 1);
    assert_eq!(rule("src/layout/a.rs", "use crate::os::Mapping;"), 1);
    assert_eq!(rule("src/rpc/a.rs", "use crate::os::Credentials;"), 0);
    assert_eq!(rule("src/server/a.rs", "use crate::client::X; use crate::Status;"), 2);
    assert_eq!(rule("src/testing.rs", "use crate::client::X; use crate::server::Y; // crate::internals"), 0);
    assert_eq!(rule("src/attic/a.rs", ""), 1);
    assert_eq!(rule("src/lib.rs", "pub use crate::client::X;"), 0);
}

#[test]
fn nothing_is_left_unfinished() {
    assert_none(unfinished(&repository()));
}

#[test]
fn unfinished_work_is_found() {
    for mark in UNFINISHED {
        assert_eq!(count(unfinished, "x.rs", &format!("let a = 1; // {mark}")), 1);
    }
    assert_eq!(count(unfinished, "x.rs", "let todo = unimplemented(); // to do"), 0);
}

#[test]
fn no_file_names_a_machine() {
    assert_none(names_a_machine(&repository()));
}

#[test]
fn a_path_of_one_machine_is_found() {
    for path in MACHINE_PATHS {
        assert_eq!(count(names_a_machine, "x.rs", &format!("let a = \"{path}/a\";")), 1);
        assert_eq!(count(names_a_machine, "x.rs", &format!("let a = \"../a{path}/a\"; // {path}er")), 0);
    }
}

#[test]
fn spaces_are_tidy() {
    assert_none(bad_spaces(&repository()));
}

#[test]
fn untidy_spaces_are_found() {
    assert_eq!(count(bad_spaces, "x.rs", "a \n\tb\nc\t\n d e\n"), 3);
}

#[test]
fn lines_fit() {
    assert_none(too_wide(&repository()));
}

#[test]
fn a_wide_line_is_found() {
    let rule = |text: &str| count(too_wide, "x.rs", text);
    let wide = "é".repeat(MAX_WIDTH + 1);
    assert_eq!(rule(&wide), 1);
    assert_eq!(rule(&wide[2..]), 0, "characters count, not bytes");
    assert_eq!(rule(&format!("// {wide}")), 1);
    assert_eq!(rule(&format!("let a = \"\"; {wide}")), 1);
    let fine = ["// https://example.org/", "//! | a | ", "    let a = \""];
    assert_eq!(fine.map(|start| rule(&format!("{start}{wide}\""))), [0, 0, 0]);
}

#[test]
fn files_speak_of_the_code() {
    assert_none(tells_history(&repository()));
}

#[test]
fn history_is_found() {
    for word in HISTORY {
        assert_eq!(count(tells_history, "x.rs", &format!("// As in {word}7.")), 1);
    }
}
