//! Turns a service into Rust: the generator that prost-build calls once for each service, in the middle of
//! the module of its package.
//!
//! The two halves are in files of their own; what they share is here: the view of a service with its Rust
//! names settled, and the writing of documentation.

mod client;
mod server;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use prost_build::{Comments, ServiceGenerator};

use crate::descriptors;
use crate::error::Error;
use crate::names::{self, Types};

/// Which halves are generated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stubs {
    pub(crate) client: bool,
    pub(crate) server: bool,
    /// Whether the server carries descriptors.
    pub(crate) descriptors: bool,
}

/// What the generator found wrong. prost-build gives a generator no way to fail, so it leaves its findings
/// here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Problems(Rc<RefCell<Vec<String>>>);

impl Problems {
    fn report(&self, problem: String) {
        self.0.borrow_mut().push(problem);
    }

    /// Fails with all that was reported.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        let problems = self.0.take();
        if problems.is_empty() { Ok(()) } else { Err(Error::new(problems.join("\n"), "rename one of them")) }
    }
}

/// Generates the stubs of each service it is given.
pub(crate) struct Generator {
    stubs: Stubs,
    problems: Problems,
}

impl Generator {
    pub(crate) fn new(stubs: Stubs, problems: Problems) -> Self {
        Self { stubs, problems }
    }

    /// Two methods of different names may become one in Rust.
    fn check_methods(&self, service: &Service) {
        let mut seen = HashMap::new();
        for method in &service.methods {
            if let Some(earlier) = seen.insert(&method.ident, &method.full_name) {
                self.problems.report(format!(
                    "{earlier} and {} both become the method `{}` in Rust",
                    method.full_name, method.ident
                ));
            }
        }
    }
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: prost_build::Service, buf: &mut String) {
        let descriptors = self.stubs.descriptors.then(|| descriptors::file_name(&service.package));
        let service = Service::new(service, descriptors);
        self.check_methods(&service);
        if self.stubs.client {
            client::write(&service, buf);
        }
        if self.stubs.server {
            server::write(&service, buf);
        }
    }
}

/// A service with its Rust names settled.
struct Service {
    /// `cache.Cache`
    full_name: String,
    types: Types,
    comments: Comments,
    deprecated: bool,
    methods: Vec<Method>,
    /// The file of the package's descriptors, if the server is to carry them.
    descriptors: Option<String>,
}

/// A unary method with its Rust names settled.
struct Method {
    /// `/cache.Cache/Get`
    full_name: String,
    ident: String,
    comments: Comments,
    deprecated: bool,
    /// Rust type of the request, as seen from the module of the service's package.
    request: String,
    /// Rust type of the response, likewise.
    response: String,
}

impl Service {
    fn new(service: prost_build::Service, descriptors: Option<String>) -> Self {
        let full_name = names::service(&service.package, &service.proto_name);
        let methods = service
            .methods
            .into_iter()
            .map(|method| Method {
                full_name: names::method(&full_name, &method.proto_name),
                ident: names::method_ident(&method.name),
                comments: method.comments,
                deprecated: method.options.deprecated(),
                request: method.input_type,
                response: method.output_type,
            })
            .collect();
        Self {
            full_name,
            types: Types::new(&service.name),
            comments: service.comments,
            deprecated: service.options.deprecated(),
            methods,
            descriptors,
        }
    }

    /// The array of full method names, which client and server both carry.
    fn write_methods(&self, buf: &mut String) {
        line(buf, 1, "/// Full names of the methods, in the order of their declaration.");
        line(buf, 1, &format!("pub const METHODS: [&'static str; {}] = [", self.methods.len()));
        for method in &self.methods {
            line(buf, 2, &format!("{:?},", method.full_name));
        }
        line(buf, 1, "];");
    }
}

/// Writes the comments of the `.proto` file, if there are any, then a paragraph of our own.
fn write_docs(buf: &mut String, depth: u8, comments: &Comments, own: &str) {
    // Detached comments belong to no item, and would come out as plain comments in odd places.
    let comments = Comments { leading_detached: Vec::new(), ..comments.clone() };
    if !comments.leading.is_empty() || !comments.trailing.is_empty() {
        comments.append_with_indent(depth, buf);
        line(buf, depth, "///");
    }
    line(buf, depth, &format!("/// {own}"));
}

/// Writes one line of code.
fn line(buf: &mut String, depth: u8, text: &str) {
    let indent = usize::from(depth) * 4;
    writeln!(buf, "{:indent$}{text}", "").expect("a String takes every write");
}
