//! Frames and memory as text: every byte in hex, and beside it what it means.
//!
//! Names come from the proto file. A frame is taken apart, what differs from run to run is replaced, and it
//! is put together again; without the replacing, exactly the bytes come out that came in.

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorProto};

use crate::session::Frame;

/// What stands for ids and names of one run.
pub(crate) const CONNECTION_ID: &str = "7-0";
pub(crate) const UUID: &str = "00112233-4455-4677-8899-aabbccddeeff";

/// Bytes of a line.
const WIDTH: usize = 16;

/// The proto file.
pub(crate) fn proto_file() -> FileDescriptorProto {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let set = protox::compile(["mmap_rpc.proto"], [root]).expect("a proto file");
    set.file.into_iter().next().expect("one file")
}

/// Every message of the proto file by its name; one inside another follows that, as `Outer.Inner`.
pub(crate) fn proto_messages() -> Vec<(String, DescriptorProto)> {
    let mut all = Vec::new();
    for outer in proto_file().message_type {
        let name = outer.name().to_owned();
        let inner = outer.nested_type.clone();
        all.push((name.clone(), outer));
        all.extend(inner.into_iter().map(|inner| (format!("{name}.{}", inner.name()), inner)));
    }
    all
}

/// The names of fields, message by message.
pub(crate) struct Schema(Vec<(String, DescriptorProto)>);

impl Schema {
    pub(crate) fn new() -> Self {
        Self(proto_messages())
    }

    /// Name and type of a field; a message's type is its name.
    fn field(&self, message: &str, number: u64) -> (&str, Option<&str>) {
        if message == ANY {
            return if number == 1 { ("type_url", None) } else { ("value", None) };
        }
        let of = self.0.iter().find(|(known, _)| known == message);
        let (_, of) = of.unwrap_or_else(|| panic!("no message {message}"));
        let field = of.field.iter().find(|field| field.number() as u64 == number);
        let field = field.unwrap_or_else(|| panic!("{message} has no field {number}"));
        let inner =
            (field.r#type() == Type::Message).then(|| field.type_name().trim_start_matches(".mmap_rpc."));
        (field.name(), inner)
    }
}

const ANY: &str = "google.protobuf.Any";
const URL: &str = "type.googleapis.com/mmap_rpc.";

/// A field that was taken apart.
enum Value {
    Number(u64),
    Text(Vec<u8>),
    Message(String, Vec<(u64, Value)>),
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that has a length: text, bytes or a message.
pub(crate) fn delimited(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn parse(schema: &Schema, message: &str, mut bytes: &[u8]) -> Vec<(u64, Value)> {
    let mut fields = Vec::new();
    let mut url = String::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes);
        let (number, wire) = (tag >> 3, tag & 7);
        if wire == 0 {
            fields.push((number, Value::Number(take_varint(&mut bytes))));
            continue;
        }
        assert_eq!(wire, 2, "{message}: a wire type that the protocol does not use");
        let len = take_varint(&mut bytes) as usize;
        let (inner, rest) = bytes.split_at(len);
        bytes = rest;
        let kind = match schema.field(message, number) {
            ("value", None) if message == ANY => url.strip_prefix(URL),
            (_, kind) => kind,
        };
        let value = match kind {
            Some(kind) => Value::Message(kind.to_owned(), parse(schema, kind, inner)),
            None => Value::Text(inner.to_vec()),
        };
        if message == ANY && number == 1 {
            url = String::from_utf8_lossy(inner).into_owned();
        }
        fields.push((number, value));
    }
    fields
}

fn encode(fields: &[(u64, Value)]) -> Vec<u8> {
    fields.iter().flat_map(|(number, value)| encode_field(*number, value)).collect()
}

fn encode_field(number: u64, value: &Value) -> Vec<u8> {
    match value {
        Value::Number(value) => [varint(number << 3), varint(*value)].concat(),
        Value::Text(text) => delimited(number, text),
        Value::Message(_, fields) => delimited(number, &encode(fields)),
    }
}

/// Replaces ids and paths.
fn settle(schema: &Schema, message: &str, fields: &mut [(u64, Value)], id: &str) {
    for (number, value) in fields {
        match (schema.field(message, *number).0, value) {
            (_, Value::Message(kind, inner)) => settle(schema, kind, inner, id),
            ("connection_id", Value::Text(text)) => *text = id.into(),
            ("mmap_filename", Value::Text(text)) => {
                let name = String::from_utf8_lossy(text).into_owned();
                let (_, name) = name.rsplit_once('/').expect("an absolute path");
                assert_eq!(name.len(), "mmap-rpc-".len() + UUID.len() + ".mmap".len(), "{name}");
                *text = format!("/run/cache/mmap-rpc-{UUID}.mmap").into();
            }
            _ => {}
        }
    }
}

fn describe(schema: &Schema, message: &str, fields: &[(u64, Value)], depth: usize, out: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    for (number, value) in fields {
        let bytes = encode_field(*number, value);
        let name = schema.field(message, *number).0;
        match value {
            Value::Number(value) => lines(&bytes, &format!("{indent}{name} ({number}) = {value}"), out),
            Value::Text(text) => {
                let text = match str::from_utf8(text) {
                    Ok(text) if text.len() <= 30 => format!("{text:?}"),
                    _ => format!("{} bytes", text.len()),
                };
                lines(&bytes, &format!("{indent}{name} ({number}) = {text}"), out);
            }
            Value::Message(kind, inner) => {
                let body = encode(inner).len();
                lines(
                    &bytes[..bytes.len() - body],
                    &format!("{indent}{name} ({number}): {kind}, {body} bytes"),
                    out,
                );
                describe(schema, kind, inner, depth + 1, out);
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn ascii(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| if byte.is_ascii_graphic() { byte as char } else { '.' };
    bytes.iter().map(shown).collect()
}

/// Lines of bytes; beside the first of them what they are, beside the others how they read.
fn lines(bytes: &[u8], what: &str, out: &mut Vec<String>) {
    for (at, chunk) in bytes.chunks(WIDTH).enumerate() {
        let beside = if at == 0 { what.to_owned() } else { format!("  {}", ascii(chunk)) };
        out.push(format!("  {:<48} {beside}", hex(chunk)).trim_end().to_owned());
    }
}

fn heading(frame: &Frame, out: &mut Vec<String>) {
    let way = if frame.from_client { "client to server" } else { "server to client" };
    let beside = match frame.descriptors {
        0 => String::new(),
        1 => ", with 1 file descriptor".to_owned(),
        count => format!(", with {count} file descriptors"),
    };
    out.push(format!("{way}{beside}"));
}

/// Netstrings of envelopes.
pub(crate) fn netstrings(schema: &Schema, frames: &[Frame]) -> Vec<String> {
    let mut out = Vec::new();
    for frame in frames {
        let body = frame.bytes.iter().position(|&byte| byte == b':').expect("a length") + 1;
        let body = &frame.bytes[body..frame.bytes.len() - 1];
        let mut envelope = parse(schema, "Envelope", body);
        assert_eq!(encode(&envelope), body, "a frame that is put together as it was");
        settle(schema, "Envelope", &mut envelope, CONNECTION_ID);
        heading(frame, &mut out);
        let length = format!("{}:", encode(&envelope).len());
        lines(length.as_bytes(), &format!("{length:?}"), &mut out);
        describe(schema, "Envelope", &envelope, 0, &mut out);
        lines(b",", "\",\"", &mut out);
    }
    out
}

/// Classic frames; the answers' types are those that the requests ask for.
pub(crate) fn classics(schema: &Schema, frames: &[Frame]) -> Vec<String> {
    let (mut out, mut asked) = (Vec::new(), "");
    for frame in frames {
        let body = &frame.bytes[5..frame.bytes.len() - 1];
        let mut fields = parse(schema, if frame.from_client { ANY } else { asked }, body);
        assert_eq!(encode(&fields), body, "a frame that is put together as it was");
        let kind = if frame.from_client { ANY } else { asked };
        settle(schema, kind, &mut fields, UUID);
        heading(frame, &mut out);
        let bytes = encode(&fields);
        lines(&(bytes.len() as u32).to_le_bytes(), &format!("{} bytes", bytes.len()), &mut out);
        lines(b":", "\":\"", &mut out);
        describe(schema, kind, &fields, 0, &mut out);
        lines(b",", "\",\"", &mut out);
        if let (true, Some((_, Value::Text(url)))) = (frame.from_client, fields.first()) {
            asked = match &url[URL.len()..] {
                b"ConnectRequest" => "ConnectResponse",
                b"RPCRequest" => "RPCResponse",
                _ => "Goaway",
            };
        }
    }
    out
}

/// Bytes of memory, with their offsets.
pub(crate) fn memory(title: &str, memory: &[u8], start: u64, len: u64, out: &mut Vec<String>) {
    out.push(title.to_owned());
    let bytes = &memory[start as usize..(start + len) as usize];
    for (at, chunk) in bytes.chunks(WIDTH).enumerate() {
        let offset = start as usize + at * WIDTH;
        out.push(format!("  {offset:05x}  {:<47}  {}", hex(chunk), ascii(chunk)));
    }
}
