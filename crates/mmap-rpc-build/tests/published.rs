//! `.proto` files as others write them: those of published packages, well over a hundred.
//!
//! What they become compiles, and its documentation builds, as a library whose warnings are errors. Missing
//! documentation is such a warning, and text of a comment that rustdoc takes for code. Methods stream in
//! every shape.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A package that carries `.proto` files.
struct Published {
    name: &'static str,
    /// Where files and their imports are looked up, below the package's folder.
    includes: &'static [&'static str],
    /// Folders of the files to compile, below the package's folder.
    folders: &'static [&'static str],
    /// At least so many files, services and messages are expected, lest the test looks at none, and so many
    /// methods that stream to the client, to the server, both ways.
    least: [usize; 6],
}

/// Many services, some with streaming methods beside others; packages named by versions.
const CONTAINERD: Published = Published {
    name: "containerd-client",
    includes: &["vendor"],
    folders: &["vendor/github.com/containerd/containerd/api"],
    least: [30, 10, 150, 5, 0, 2],
};

/// Many messages, long comments, options that others have defined, packages of packages.
const ENVOY: Published = Published {
    name: "envoy-types",
    includes: &[
        "proto/cel-spec/proto",
        "proto/client_model",
        "proto/data-plane-api",
        "proto/googleapis",
        "proto/protoc-gen-validate",
        "proto/xds",
    ],
    folders: &[
        "proto/data-plane-api/envoy/admin",
        "proto/data-plane-api/envoy/config",
        "proto/data-plane-api/envoy/data",
        "proto/data-plane-api/envoy/service",
        "proto/data-plane-api/envoy/type",
    ],
    least: [100, 20, 300, 0, 3, 20],
};

/// A package's files, and where they and their imports are looked up.
struct Files {
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Published {
    /// The package's folder, as cargo knows it.
    fn folder(&self) -> PathBuf {
        let output = cargo()
            .args(["metadata", "--locked", "--format-version=1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        let metadata: serde_json::Value =
            serde_json::from_slice(&succeeded(output).stdout).expect("cargo writes JSON");
        let packages = metadata["packages"].as_array().expect("a list of packages");
        let package = packages.iter().find(|package| package["name"] == self.name);
        let manifest = package.and_then(|package| package["manifest_path"].as_str());
        let manifest = Path::new(manifest.expect("a dev-dependency of this crate"));
        manifest.parent().expect("a folder").to_owned()
    }

    fn files(&self) -> Files {
        let folder = self.folder();
        let includes: Vec<_> = self.includes.iter().map(|include| folder.join(include)).collect();
        let mut files = Vec::new();
        self.folders.iter().for_each(|each| proto_files(&folder.join(each), &mut files));
        files.sort();
        let counts = self.counts(&includes, &files);
        let enough = counts.iter().zip(self.least).all(|(count, least)| *count >= least);
        assert!(enough, "{}: only {counts:?} of what there should be", self.name);
        Files { includes, files }
    }

    /// What `least` is compared with.
    fn counts(&self, includes: &[PathBuf], files: &[PathBuf]) -> [usize; 6] {
        let mut compiler = protox::Compiler::new(includes).expect("folders");
        for file in files {
            compiler.open_file(file).unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
        }
        let mut counts = [files.len(), 0, 0, 0, 0, 0];
        for file in compiler.file_descriptor_set().file {
            counts[1] += file.service.len();
            counts[2] += file.message_type.len();
            for method in file.service.iter().flat_map(|service| &service.method) {
                match (method.server_streaming(), method.client_streaming()) {
                    (false, false) => {}
                    (true, false) => counts[3] += 1,
                    (false, true) => counts[4] += 1,
                    (true, true) => counts[5] += 1,
                }
            }
        }
        counts
    }
}

/// Cargo as it runs this test, without what it was told for this test alone.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR");
    cargo
}

#[track_caller]
fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All files below a folder whose name ends in `.proto`.
fn proto_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the package") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            proto_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
}

/// A crate of its own, which denies warnings, with a module for each of `packages`.
fn strict_crate(packages: &[&Published]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strict");
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let mut library = "//! Strict.\n#![deny(warnings, missing_docs)]\n".to_owned();
    for package in packages {
        let module = package.name.replace('-', "_");
        let generated = folder.join("src").join(&module);
        // Nothing of an earlier run stays.
        let _ = fs::remove_dir_all(&generated);
        fs::create_dir_all(&generated).expect("a writable folder");
        let Files { includes, files } = package.files();
        mmap_rpc_build::configure().out_dir(&generated).compile(&files, &includes).expect("code");
        library +=
            &format!("/// Generated.\npub mod {module} {{ include!(\"{module}/mmap_rpc_includes.rs\"); }}\n");
    }
    let manifest = format!(
        "[package]\nname = \"strict\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nmmap-rpc.path = {:?}\n",
        repository
    );
    fs::write(folder.join("src/lib.rs"), library).expect("a writable folder");
    fs::write(folder.join("Cargo.toml"), manifest).expect("a writable folder");
    // The same versions as here, so that nothing is fetched.
    fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a writable folder");
    folder
}

#[test]
fn what_they_become_compiles_where_warnings_are_errors() {
    let folder = strict_crate(&[&CONTAINERD, &ENVOY]);
    for command in [&["check"][..], &["doc", "--no-deps"]] {
        let run = cargo().args(command).args(["--offline", "--quiet"]).current_dir(&folder).output();
        succeeded(run.expect("cargo runs"));
    }
}
