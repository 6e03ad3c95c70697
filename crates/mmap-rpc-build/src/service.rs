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

    /// Two methods of different names may become one in Rust, or the types of their streams may.
    fn check_methods(&self, service: &Service) {
        let (mut methods, mut streams) = (HashMap::new(), HashMap::new());
        for method in &service.methods {
            let Method { full_name, ident, .. } = method;
            if let Some(earlier) = methods.insert(ident, full_name) {
                self.problems
                    .report(format!("{earlier} and {full_name} both become the method `{ident}` in Rust"));
            } else if let Some(stream) = &method.stream
                && self.stubs.server
                && let Some(earlier) = streams.insert(stream, full_name)
            {
                self.problems.report(format!(
                    "the responses of {earlier} and {full_name} both become the type `{stream}` in Rust"
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

/// Which of a call's two sides is a stream.
#[derive(Clone, Copy)]
enum Shape {
    Unary,
    ServerStreaming,
    ClientStreaming,
    BidiStreaming,
}

impl Shape {
    fn of(method: &prost_build::Method) -> Self {
        match (method.client_streaming, method.server_streaming) {
            (false, false) => Self::Unary,
            (false, true) => Self::ServerStreaming,
            (true, false) => Self::ClientStreaming,
            (true, true) => Self::BidiStreaming,
        }
    }

    /// What the runtime calls it: a method of channels, and of exchanges.
    fn ident(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStreaming => "server_streaming",
            Self::ClientStreaming => "client_streaming",
            Self::BidiStreaming => "bidi_streaming",
        }
    }

    fn requests_stream(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::BidiStreaming)
    }

    fn responses_stream(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::BidiStreaming)
    }

    /// What documentation says behind a method's name.
    fn described(self) -> &'static str {
        match self {
            Self::Unary => "",
            Self::ServerStreaming => ": one request, a stream of responses",
            Self::ClientStreaming => ": a stream of requests, one response",
            Self::BidiStreaming => ": a stream of requests, a stream of responses",
        }
    }
}

/// A method with its Rust names settled.
struct Method {
    /// `/cache.Cache/Get`
    full_name: String,
    ident: String,
    shape: Shape,
    /// The type of the responses in the traits, if they are a stream.
    stream: Option<String>,
    comments: Comments,
    deprecated: bool,
    /// Rust type of a request, as seen from the module of the service's package.
    request: String,
    /// Rust type of a response, likewise.
    response: String,
}

impl Service {
    fn new(service: prost_build::Service, descriptors: Option<String>) -> Self {
        let full_name = names::service(&service.package, &service.proto_name);
        let methods = service
            .methods
            .into_iter()
            .map(|method| {
                let shape = Shape::of(&method);
                Method {
                    full_name: names::method(&full_name, &method.proto_name),
                    ident: names::method_ident(&method.name),
                    shape,
                    stream: shape.responses_stream().then(|| names::stream_type(&method.proto_name)),
                    comments: method.comments,
                    deprecated: method.options.deprecated(),
                    request: method.input_type,
                    response: method.output_type,
                }
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
