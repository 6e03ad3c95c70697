//! Descriptors as things with names: services, messages and enums.

use std::collections::{BTreeMap, HashMap};

use anyhow::bail;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, ServiceDescriptorProto,
};
use serde::Serialize;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Full name.
    pub name: String,
    /// What its `.proto` file says about it; empty where it says nothing, here and below.
    pub comment: String,
    /// In the order of the file; those that the file does not know follow.
    pub methods: Vec<Method>,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Without the service's name.
    pub name: String,
    /// What is said about it.
    pub comment: String,
    /// Whether callers should no longer use it.
    pub deprecated: bool,
    /// What it takes and returns; `None` if nothing describes it.
    pub signature: Option<Signature>,
}

/// What a method takes and returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Full name of the request.
    pub request: String,
    /// Whether it takes a stream of them.
    pub client_streaming: bool,
    /// Full name of the response.
    pub response: String,
    /// Whether it returns a stream of them.
    pub server_streaming: bool,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Full name.
    pub name: String,
    /// What is said about it.
    pub comment: String,
    /// In the order of the file.
    pub fields: Vec<Field>,
    /// Its groups of fields of which at most one is set.
    pub oneofs: Vec<Oneof>,
}

/// A `oneof` of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Oneof {
    /// Its name.
    pub name: String,
    /// What is said about it.
    pub comment: String,
}

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: i32,
    /// As in the file, with `repeated`, `optional` or `map`; names of types are full.
    #[serde(rename = "type")]
    pub kind: String,
    /// The `oneof` that it belongs to.
    pub oneof: Option<String>,
    /// Whether it should no longer be used.
    pub deprecated: bool,
    /// What is said about it.
    pub comment: String,
}

/// An enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enum {
    /// Full name.
    pub name: String,
    /// What is said about it.
    pub comment: String,
    /// In the order of the file.
    pub values: Vec<Value>,
}

/// A value of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: i32,
    /// What is said about it.
    pub comment: String,
}

/// Whatever has a full name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Thing {
    /// A service.
    Service(Service),
    /// A message.
    Message(Message),
    /// An enum.
    Enum(Enum),
}

/// All that a server told.
#[derive(Debug)]
pub struct Catalog {
    /// Names of services and of their methods that are served, in the server's order.
    served: Vec<(String, Vec<String>)>,
    things: BTreeMap<String, Thing>,
}

impl Catalog {
    /// Takes the full names of methods, and encoded files.
    ///
    /// # Errors
    /// If a file does not decode.
    pub fn new(methods: &[String], files: &[impl AsRef<[u8]>]) -> anyhow::Result<Self> {
        let mut served: Vec<(String, Vec<String>)> = Vec::new();
        for name in methods {
            let (service, method) = name.trim_start_matches('/').split_once('/').unwrap_or((name, ""));
            match served.iter_mut().find(|(known, _)| known == service) {
                Some((_, methods)) => methods.push(method.to_owned()),
                None => served.push((service.to_owned(), vec![method.to_owned()])),
            }
        }
        let mut catalog = Self { served, things: BTreeMap::new() };
        for file in files {
            File::read(&FileDescriptorProto::decode(file.as_ref())?, &mut catalog.things);
        }
        Ok(catalog)
    }

    /// The services that are served, with exactly the methods that are.
    pub fn served(&self) -> Vec<Service> {
        let bare = |name: &String| Method {
            name: name.clone(),
            comment: String::new(),
            deprecated: false,
            signature: None,
        };
        let services = self.served.iter().map(|(name, served)| {
            let (comment, described) = match self.things.get(name) {
                Some(Thing::Service(service)) => (service.comment.clone(), &service.methods[..]),
                _ => (String::new(), &[][..]),
            };
            let known = described.iter().filter(|method| served.contains(&method.name)).cloned();
            let is_described = |name: &&String| described.iter().any(|method| method.name == **name);
            let others = served.iter().filter(|name| !is_described(name)).map(bare);
            Service { name: name.clone(), comment, methods: known.chain(others).collect() }
        });
        services.collect()
    }

    /// The thing of a name, which is its full name or the end of it: `Cache` finds `cache.v1.Cache`. A
    /// method's name finds its service, with this method alone.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn find(&self, name: &str) -> anyhow::Result<Thing> {
        let name = name.trim_start_matches(['/', '.']);
        if let Some((service, method)) = name.split_once('/') {
            return match self.find(service)? {
                Thing::Service(mut found) => {
                    found.methods.retain(|known| known.name == method);
                    if found.methods.is_empty() {
                        bail!("the service {} has no method {method:?}", found.name);
                    }
                    Ok(Thing::Service(found))
                }
                _ => bail!("{service} is no service, and has no methods"),
            };
        }
        if let Some(thing) = self.things.get(name) {
            return Ok(thing.clone());
        }
        let end = format!(".{name}");
        let found: Vec<_> = self.things.iter().filter(|(full, _)| full.ends_with(&end)).collect();
        match &found[..] {
            [(_, thing)] => Ok((*thing).clone()),
            [] if self.served.iter().any(|(served, _)| *served == name) => {
                bail!("nothing describes {name}: its methods take plain bytes, or it carries no descriptors")
            }
            [] => {
                let names: Vec<_> = self.things.keys().map(String::as_str).collect();
                bail!("there is no {name:?}; there are {}", names.join(", "))
            }
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
                bail!("{name:?} may be each of {}", names.join(", "))
            }
        }
    }
}

/// Numbers in `descriptor.proto`: the steps of a path into a file's source info.
mod step {
    pub(super) const MESSAGE: i32 = 4;
    pub(super) const ENUM: i32 = 5;
    pub(super) const SERVICE: i32 = 6;
    pub(super) const METHOD: i32 = 2;
    pub(super) const FIELD: i32 = 2;
    pub(super) const NESTED_MESSAGE: i32 = 3;
    pub(super) const NESTED_ENUM: i32 = 4;
    pub(super) const ONEOF: i32 = 8;
    pub(super) const VALUE: i32 = 2;
}

/// A file that is taken apart.
struct File<'a> {
    comments: HashMap<&'a [i32], String>,
    /// Whether `optional` goes without saying, as in the first version of the language.
    optional: bool,
    things: &'a mut BTreeMap<String, Thing>,
}

impl<'a> File<'a> {
    fn read(file: &'a FileDescriptorProto, things: &'a mut BTreeMap<String, Thing>) {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.map(|at| {
            let parts = [at.leading_comments(), at.trailing_comments()].map(comment);
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            (&at.path[..], parts.join("\n\n"))
        });
        let comments = comments.collect();
        let mut reading = File { comments, optional: file.syntax() != "proto3", things };
        for (i, service) in file.service.iter().enumerate() {
            reading.service(service, file.package(), &[step::SERVICE, i as i32]);
        }
        for (i, message) in file.message_type.iter().enumerate() {
            reading.message(message, file.package(), &[step::MESSAGE, i as i32]);
        }
        for (i, kind) in file.enum_type.iter().enumerate() {
            reading.enumeration(kind, file.package(), &[step::ENUM, i as i32]);
        }
    }

    fn comment(&self, path: &[i32], steps: &[i32]) -> String {
        self.comments.get(&[path, steps].concat()[..]).cloned().unwrap_or_default()
    }

    /// Of two things of one name the first one stays.
    fn add(&mut self, name: String, thing: Thing) {
        self.things.entry(name).or_insert(thing);
    }

    fn service(&mut self, service: &ServiceDescriptorProto, scope: &str, path: &[i32]) {
        let name = joined(scope, service.name());
        let methods = service.method.iter().enumerate().map(|(i, method)| Method {
            name: method.name().to_owned(),
            comment: self.comment(path, &[step::METHOD, i as i32]),
            deprecated: method.options.as_ref().is_some_and(|options| options.deprecated()),
            signature: Some(Signature {
                request: full(method.input_type()),
                client_streaming: method.client_streaming(),
                response: full(method.output_type()),
                server_streaming: method.server_streaming(),
            }),
        });
        let methods = methods.collect();
        let thing = Service { name: name.clone(), comment: self.comment(path, &[]), methods };
        self.add(name, Thing::Service(thing));
    }

    fn message(&mut self, message: &DescriptorProto, scope: &str, path: &[i32]) {
        let name = joined(scope, message.name());
        let fields = message.field.iter().enumerate().map(|(i, field)| Field {
            name: field.name().to_owned(),
            number: field.number(),
            kind: self.kind(field, message),
            oneof: oneof(field, message),
            deprecated: field.options.as_ref().is_some_and(|options| options.deprecated()),
            comment: self.comment(path, &[step::FIELD, i as i32]),
        });
        let fields = fields.collect();
        let groups = message.oneof_decl.iter().enumerate().map(|(i, oneof)| Oneof {
            name: oneof.name().to_owned(),
            comment: self.comment(path, &[step::ONEOF, i as i32]),
        });
        // An optional field has one of its own, which no file shows.
        let oneofs = groups.filter(|group| {
            message.field.iter().any(|field| oneof(field, message).as_ref() == Some(&group.name))
        });
        let oneofs = oneofs.collect();
        let thing = Message { name: name.clone(), comment: self.comment(path, &[]), fields, oneofs };
        for (i, nested) in message.nested_type.iter().enumerate().filter(|(_, nested)| !is_entry(nested)) {
            self.message(nested, &name, &[path, &[step::NESTED_MESSAGE, i as i32]].concat());
        }
        for (i, nested) in message.enum_type.iter().enumerate() {
            self.enumeration(nested, &name, &[path, &[step::NESTED_ENUM, i as i32]].concat());
        }
        self.add(name, Thing::Message(thing));
    }

    fn enumeration(&mut self, kind: &EnumDescriptorProto, scope: &str, path: &[i32]) {
        let name = joined(scope, kind.name());
        let values = kind.value.iter().enumerate().map(|(i, value)| Value {
            name: value.name().to_owned(),
            number: value.number(),
            comment: self.comment(path, &[step::VALUE, i as i32]),
        });
        let values = values.collect();
        let thing = Enum { name: name.clone(), comment: self.comment(path, &[]), values };
        self.add(name, Thing::Enum(thing));
    }

    fn kind(&self, field: &FieldDescriptorProto, of: &DescriptorProto) -> String {
        let last = field.type_name().rsplit('.').next();
        let entry = of.nested_type.iter().find(|nested| is_entry(nested) && Some(nested.name()) == last);
        if let Some(entry) = entry
            && let [key, value] = &entry.field[..]
        {
            return format!("map<{}, {}>", scalar(key), scalar(value));
        }
        let label = match field.label() {
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if field.proto3_optional() => "optional ",
            Label::Optional if self.optional && field.oneof_index.is_none() => "optional ",
            Label::Optional => "",
        };
        format!("{label}{}", scalar(field))
    }
}

/// Whether a message stands for the entries of a map.
fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// The `oneof` that a field belongs to; an optional field's own does not count.
fn oneof(field: &FieldDescriptorProto, of: &DescriptorProto) -> Option<String> {
    let index = field.oneof_index.filter(|_| !field.proto3_optional())?;
    Some(of.oneof_decl.get(usize::try_from(index).ok()?)?.name().to_owned())
}

/// The type of a field or of its elements.
fn scalar(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => full(field.type_name()),
        Type::Group => format!("group {}", full(field.type_name())),
        other => other.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    }
}

/// A full name without the dot that descriptors put before it.
fn full(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// A comment without the space that stands before each of its lines.
fn comment(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}
