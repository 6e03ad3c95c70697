//! What can go wrong in a build script, told so that the reader knows where to look and what to do.
//!
//! A build script's `main` prints its error with `Debug`, so `Debug` prints what `Display` does.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost::DecodeError;

/// Why no code was generated: where the fault lies, what it is, and a remedy.
pub struct Error {
    /// `file:line:column: what`, as far as the place is known.
    message: String,
    /// What the reader can do about it.
    remedy: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into(), source: None }
    }

    /// A file that could not be read, parsed or linked. `includes` turn the name that the compiler knows the
    /// file by into a path that an editor can open.
    pub(crate) fn proto(error: protox::Error, includes: &[PathBuf]) -> Self {
        // Only the `Debug` form of the compiler's error has line and column.
        let mut message = format!("{error:?}");
        if let Some(name) = error.file()
            && let Some(path) = includes.iter().map(|include| include.join(name)).find(|path| path.exists())
            && let Some(rest) = message.strip_prefix(name)
        {
            message = format!("{}{rest}", path.display());
        }
        let remedy = if error.is_file_not_found() {
            "pass the folder that holds it in `includes`, and write the path as it is below that folder"
        } else if error.is_io() {
            "check that the file exists and can be read by this user"
        } else if error.is_parse() {
            "correct the syntax there; a missing `;` or `}` just before the place is the usual cause"
        } else {
            "correct the definition there; a type of another file or package needs an `import` and its full name"
        };
        Self { message, remedy: remedy.to_owned(), source: Some(Box::new(error)) }
    }

    /// A generated file that could not be written.
    pub(crate) fn write(path: &Path, error: io::Error) -> Self {
        Self {
            message: format!("cannot write {}: {error}", path.display()),
            remedy: "check that the folder exists and can be written by this user".to_owned(),
            source: Some(Box::new(error)),
        }
    }

    /// Descriptors that their own compiler has encoded, and that cannot be taken apart.
    pub(crate) fn descriptors(error: DecodeError) -> Self {
        Self {
            message: format!("cannot embed the descriptors: {error}"),
            remedy: "leave them out with `embed_descriptors(false)`".to_owned(),
            source: Some(Box::new(error)),
        }
    }

    /// A setting that the message generator does not accept.
    pub(crate) fn settings(error: io::Error) -> Self {
        Self {
            message: format!("cannot generate the messages: {error}"),
            remedy: "check the paths and attributes given to the builder and to `prost_config`".to_owned(),
            source: Some(Box::new(error)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.message, self.remedy)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
