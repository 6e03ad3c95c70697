//! The settings of a build, and its course: compile, document, generate, write.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use prost_build::{Config, Module};
use protox::Compiler;

use crate::error::Error;
use crate::output::{self, Descriptors};
use crate::service::{Generator, Problems, Stubs};
use crate::{descriptors, docs};

/// Where the runtime keeps `prost` for generated code.
const PROST_PATH: &str = "::mmap_rpc::__private::prost";
/// Where the runtime keeps `prost-types`. Unlike the path above, prost-build turns each part of this one into
/// snake case, which would strip the underscores of `__private`.
const PROST_TYPES_PATH: &str = "::mmap_rpc::prost_types";

/// Starts from the default settings; [`Builder::compile`] ends it.
pub fn configure() -> Builder {
    Builder {
        client: true,
        server: true,
        bytes: true,
        embed: true,
        out_dir: None,
        include_file: PathBuf::from("mmap_rpc_includes.rs"),
        descriptor_set: PathBuf::from("file_descriptor_set.bin"),
        prost: Vec::new(),
    }
}

/// A change to the settings of the message generator.
type Change = Box<dyn FnOnce(&mut Config)>;

/// The settings of one build. See [`configure`].
#[must_use = "nothing is generated before `compile` is called"]
pub struct Builder {
    client: bool,
    server: bool,
    bytes: bool,
    embed: bool,
    out_dir: Option<PathBuf>,
    include_file: PathBuf,
    descriptor_set: PathBuf,
    /// Applied in order to the message generator, after our own settings.
    prost: Vec<Change>,
}

impl Builder {
    /// Whether clients are generated; they are by default.
    pub fn build_client(mut self, yes: bool) -> Self {
        self.client = yes;
        self
    }

    /// Whether servers and their traits are generated; they are by default.
    pub fn build_server(mut self, yes: bool) -> Self {
        self.server = yes;
        self
    }

    /// Whether `bytes` fields become `Bytes`, which share the buffer they arrived in (the default), or
    /// `Vec<u8>`, which copy.
    pub fn bytes(mut self, yes: bool) -> Self {
        self.bytes = yes;
        self
    }

    /// Whether servers carry the descriptors of their package, for tools that list and describe what a server
    /// offers; they do by default.
    pub fn embed_descriptors(mut self, yes: bool) -> Self {
        self.embed = yes;
        self
    }

    /// The folder that the code is written to, which must exist. The default is `OUT_DIR`.
    pub fn out_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(path.into());
        self
    }

    /// The name of the file that holds the module tree, inside the output folder. A build script that
    /// compiles twice wants two names.
    pub fn include_file(mut self, name: impl Into<PathBuf>) -> Self {
        self.include_file = name.into();
        self
    }

    /// The name of the file that holds the descriptors of all packages, inside the output folder. A build
    /// script that compiles twice wants two names.
    pub fn descriptor_set(mut self, name: impl Into<PathBuf>) -> Self {
        self.descriptor_set = name.into();
        self
    }

    /// Adds an attribute to messages, enums and oneofs; see [`Config::type_attribute`] for the paths.
    pub fn type_attribute(self, path: impl Into<String>, attribute: impl Into<String>) -> Self {
        let (path, attribute) = (path.into(), attribute.into());
        self.prost_config(move |config| {
            config.type_attribute(path, attribute);
        })
    }

    /// Adds an attribute to fields and enum values; see [`Config::field_attribute`] for the paths.
    pub fn field_attribute(self, path: impl Into<String>, attribute: impl Into<String>) -> Self {
        let (path, attribute) = (path.into(), attribute.into());
        self.prost_config(move |config| {
            config.field_attribute(path, attribute);
        })
    }

    /// Changes anything else about how messages are generated.
    ///
    /// The service generator and the names and folders of the files are this builder's: what is set of them
    /// here has no effect.
    pub fn prost_config(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.prost.push(Box::new(change));
        self
    }

    /// Generates the code. See [`compile_protos`](crate::compile_protos) for the arguments and errors.
    ///
    /// # Errors
    ///
    /// As [`compile_protos`](crate::compile_protos).
    pub fn compile(
        mut self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let includes: Vec<PathBuf> = includes.iter().map(|include| include.as_ref().to_owned()).collect();
        let out_dir =
            self.out_dir.clone().or_else(|| env::var_os("OUT_DIR").map(PathBuf::from)).ok_or_else(|| {
                Error::new(
                    "nowhere to write to: OUT_DIR is not set",
                    "call this from a build script, or name a folder with `out_dir`",
                )
            })?;
        let compiler = parse(protos, &includes).map_err(|error| Error::proto(error, &includes))?;
        for path in compiler.files().filter_map(|file| file.path()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }

        let mut files = compiler.file_descriptor_set().file;
        files.iter_mut().for_each(docs::complete);
        let requests: Vec<_> = files
            .into_iter()
            .map(|file| (Module::from_protobuf_package_name(file.package()), file))
            .collect();
        let problems = Problems::default();
        let modules = self.config(&problems).generate(requests).map_err(Error::settings)?;
        problems.into_result()?;

        let target = output::Target {
            folder: &out_dir,
            include_file: &self.include_file,
            descriptor_set: &self.descriptor_set,
        };
        let embedded = match self.server && self.embed {
            true => descriptors::of_packages(&compiler.descriptor_pool())?,
            false => BTreeMap::new(),
        };
        target.write(modules, &Descriptors { all: compiler.encode_file_descriptor_set(), embedded })
    }

    /// The message generator with our settings, then the user's, then what must not be changed.
    fn config(&mut self, problems: &Problems) -> Config {
        let mut config = Config::new();
        config.prost_path(PROST_PATH);
        config.prost_types_path(PROST_TYPES_PATH);
        if self.bytes {
            config.bytes(["."]);
        }
        for change in self.prost.drain(..) {
            change(&mut config);
        }
        config.service_generator(Box::new(Generator::new(
            Stubs { client: self.client, server: self.server, descriptors: self.embed },
            problems.clone(),
        )));
        config
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("client", &self.client)
            .field("server", &self.server)
            .field("bytes", &self.bytes)
            .field("embed", &self.embed)
            .field("out_dir", &self.out_dir)
            .field("include_file", &self.include_file)
            .field("descriptor_set", &self.descriptor_set)
            .finish_non_exhaustive()
    }
}

/// Reads the files and everything they import, comments included.
fn parse(protos: &[impl AsRef<Path>], includes: &[PathBuf]) -> Result<Compiler, protox::Error> {
    let mut compiler = Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true);
    for proto in protos {
        compiler.open_file(proto)?;
    }
    Ok(compiler)
}
