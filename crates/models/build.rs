//! Makes the mutants: copies of the library's files with one line changed, each beside a copy of the models.
//!
//! It also sets `cfg(mmap_rpc_loom)`, for this crate alone, so that the library's own files, which the crate
//! compiles by path, see loom's atomics. The product knows nothing of all this.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "mutants/mod.rs"]
mod mutants;

use mutants::Mutant;

/// What the library's files and directories are, seen from this crate.
const LIBRARY: &str = "../../src";

/// The inputs within the library.
const INPUTS: [&str; 5] = ["sync.rs", "error.rs", "layout", "slab", "ring"];

/// The rooms of which single files are modelled, and how their names reach the models.
const SINGLE_FILES: [(&str, &[&str], &str); 2] = [
    (
        "client",
        &[
            "client/calls.rs",
            "client/calls/cell.rs",
            "client/lead.rs",
            "client/lead/tasks.rs",
            "client/space.rs",
        ],
        "",
    ),
    (
        "connection",
        &["connection/flow.rs", "connection/space.rs", "connection/wakers.rs"],
        "pub(crate) use {flow::Flow, space::SpaceNews, wakers::Wakers}; pub(crate) use crate::connection::received;",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-cfg=mmap_rpc_loom");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=mutants");
    println!("cargo::rerun-if-changed=src");
    for input in INPUTS.iter().chain(SINGLE_FILES.iter().flat_map(|(_, files, _)| *files)) {
        println!("cargo::rerun-if-changed={LIBRARY}/{input}");
    }

    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let copies = out.join("mutants");
    if copies.exists() {
        fs::remove_dir_all(&copies)?;
    }
    let mut modules = String::new();
    for mutant in mutants::TABLES.into_iter().flatten() {
        make(mutant, &root, &copies.join(mutant.name), &mut modules)?;
    }
    fs::write(out.join("mutants.rs"), modules)?;
    Ok(())
}

/// Writes one mutant's copies into `target`, and its modules into `modules`.
///
/// Only the mutated room of the library and the models are copied; what lies
/// below is shared with the unchanged crate.
fn make(mutant: &Mutant, root: &Path, target: &Path, modules: &mut String) -> Result<(), Box<dyn Error>> {
    let &Mutant { name, file, edits, model, fails_with } = mutant;
    let (part, _) = file.split_once('/').ok_or("a mutated file lies in a directory")?;
    let (models, question) = model.split_once("::").ok_or("a model is named file::function")?;
    let no_longer = |why: String| format!("mutant {name} no longer applies: {why}");

    let models = format!("models/{models}.rs");
    let mut sources = vec![(root.join("src"), models.clone())];
    if part != "models" {
        sources.extend(
            rust_files(&root.join(LIBRARY), part)?.into_iter().map(|path| (root.join(LIBRARY), path)),
        );
    }
    if !sources.iter().any(|(_, path)| path == file) {
        return Err(no_longer(format!("there is no {file}")).into());
    }
    for (base, path) in sources {
        let mut text = fs::read_to_string(base.join(&path))?;
        if path == models && !text.contains(&format!("fn {question}()")) {
            return Err(no_longer(format!("there is no model {model}")).into());
        }
        if path == file {
            text = apply(text, edits).map_err(|why| no_longer(format!("{file}: {why}")))?;
        }
        // The copies of the models are called by the mutant's own test.
        let text = text
            .replace(&format!("crate::{part}::"), &format!("crate::mutants::{name}::{part}::"))
            .replace("#[test]\n", "");
        let copy = target.join(&path);
        fs::create_dir_all(copy.parent().ok_or("a copy lies in a directory")?)?;
        fs::write(copy, text)?;
    }

    let target = target.display();
    let library = match part {
        "models" => String::new(),
        _ => match SINGLE_FILES.iter().find(|(room, ..)| *room == part) {
            Some((_, files, names)) => {
                // Those below another one are that one's own modules.
                let modules = files.iter().filter(|file| file.matches('/').count() == 1).map(|file| {
                    let name = file.trim_start_matches(part).trim_matches('/').trim_end_matches(".rs");
                    format!("pub(crate) mod {name};")
                });
                let modules = modules.collect::<Vec<_>>().join(" ");
                format!("#[path = \"{target}/{part}\"] pub(crate) mod {part} {{ {modules} {names} }}")
            }
            None => format!("#[path = \"{target}/{part}/mod.rs\"] pub(crate) mod {part};"),
        },
    };
    write!(
        modules,
        "pub(crate) mod {name} {{
    {library}
    #[path = \"{target}/{models}\"] mod models;
    #[test]
    fn is_caught() {{
        crate::harness::must_fail(\"mutants::{name}::is_caught\", {fails_with:?}, models::{question});
    }}
}}
"
    )?;
    Ok(())
}

/// Makes every edit; each must find its snippet exactly once.
fn apply(mut text: String, edits: &[(&str, &str)]) -> Result<String, String> {
    for (from, to) in edits {
        match text.matches(from).count() {
            1 => text = text.replace(from, to),
            found => return Err(format!("found {found} times, must be found once:\n{from}")),
        }
    }
    Ok(text)
}

/// All Rust files below `directory`, seen from `base`; where single files are modelled, those.
fn rust_files(base: &Path, directory: &str) -> Result<Vec<String>, Box<dyn Error>> {
    if let Some((_, files, _)) = SINGLE_FILES.iter().find(|(room, ..)| *room == directory) {
        return Ok(files.iter().map(|file| (*file).to_owned()).collect());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(base.join(directory))? {
        let entry = entry?;
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files.extend(rust_files(base, &path)?);
        } else if path.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(files)
}
