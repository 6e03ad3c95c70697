//! Things as people read them: in the language of `.proto` files, with full names.

use std::fmt::Write;

use super::catalog::{Enum, Field, Message, Method, Service, Thing};

/// Services with the signatures of their methods.
pub fn list(services: &[Service]) -> String {
    let mut text = String::new();
    for service in services {
        text += &service.name;
        text.push('\n');
        for method in &service.methods {
            let _ = writeln!(text, "  {}", signature(method));
        }
    }
    harmless(&text)
}

/// Everything that is known about some things.
pub fn describe(things: &[Thing]) -> String {
    let texts: Vec<String> = things
        .iter()
        .map(|thing| match thing {
            Thing::Service(it) => service(it),
            Thing::Message(it) => message(it),
            Thing::Enum(it) => enumeration(it),
        })
        .collect();
    harmless(&texts.join("\n"))
}

fn signature(method: &Method) -> String {
    let Some(signature) = &method.signature else { return format!("{} (not described)", method.name) };
    let stream = |yes| if yes { "stream " } else { "" };
    format!(
        "{}({}{}) returns ({}{})",
        method.name,
        stream(signature.client_streaming),
        signature.request,
        stream(signature.server_streaming),
        signature.response
    )
}

fn service(service: &Service) -> String {
    let mut text = comment(&service.comment, "");
    let _ = writeln!(text, "service {} {{", service.name);
    for method in &service.methods {
        text += &comment(&method.comment, "  ");
        let end = if method.deprecated { " { option deprecated = true; }" } else { ";" };
        let _ = match method.signature {
            Some(_) => writeln!(text, "  rpc {}{end}", signature(method)),
            None => writeln!(text, "  // {}", signature(method)),
        };
    }
    text + "}\n"
}

fn message(message: &Message) -> String {
    let mut text = comment(&message.comment, "");
    let _ = writeln!(text, "message {} {{", message.name);
    let mut oneof: Option<&str> = None;
    for field in &message.fields {
        if field.oneof.as_deref() != oneof {
            if oneof.is_some() {
                text += "  }\n";
            }
            oneof = field.oneof.as_deref();
            if let Some(name) = oneof {
                let group = message.oneofs.iter().find(|group| group.name == name);
                text += &group.map_or_else(String::new, |group| comment(&group.comment, "  "));
                let _ = writeln!(text, "  oneof {name} {{");
            }
        }
        text += &line(field, if oneof.is_some() { "    " } else { "  " });
    }
    text + if oneof.is_some() { "  }\n}\n" } else { "}\n" }
}

fn line(field: &Field, indent: &str) -> String {
    let Field { name, number, kind, .. } = field;
    let end = if field.deprecated { " [deprecated = true];" } else { ";" };
    format!("{}{indent}{kind} {name} = {number}{end}\n", comment(&field.comment, indent))
}

fn enumeration(kind: &Enum) -> String {
    let mut text = comment(&kind.comment, "");
    let _ = writeln!(text, "enum {} {{", kind.name);
    for value in &kind.values {
        text += &comment(&value.comment, "  ");
        let _ = writeln!(text, "  {} = {};", value.name, value.number);
    }
    text + "}\n"
}

fn comment(text: &str, indent: &str) -> String {
    text.lines().map(|line| format!("{indent}// {line}").trim_end().to_owned() + "\n").collect()
}

/// The text without characters that a terminal would obey rather than show.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push(c),
            '\t' => shown.push_str("    "),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        let name = "a\u{1b}[2J\tb\u{9b}\r".to_owned();
        let service = Service { name, comment: "c\u{7}".to_owned(), methods: Vec::new() };
        assert_eq!(list(std::slice::from_ref(&service)), "a\\u{1b}[2J    b\\u{9b}\\r\n");
        assert!(describe(&[Thing::Service(service)]).starts_with("// c\\u{7}\nservice a"));
    }
}
