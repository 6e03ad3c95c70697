//! Completes the documentation of messages before they are generated.
//!
//! prost-build copies comments as they are and leaves the rest bare. Two things stand in the way of a crate
//! that denies missing documentation and runs its doc tests: items without a comment, which get a line of
//! ours here, and code blocks in comments, which rustdoc would take for Rust and are marked as text. Services
//! and methods are documented where they are written.

use std::collections::HashMap;

use protox::prost_reflect::prost_types::source_code_info::Location;
use protox::prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use crate::names;

/// Field numbers in `descriptor.proto`: the steps of a path into a file's source info.
mod step {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_MESSAGE: i32 = 3;
    pub(super) const MESSAGE_ENUM: i32 = 4;
    pub(super) const MESSAGE_ONEOF: i32 = 8;
    pub(super) const ENUM_VALUE: i32 = 2;
}

/// Gives every message, field, oneof, enum and value of the file a comment that makes good documentation.
pub(crate) fn complete(file: &mut FileDescriptorProto) {
    let mut notes = Vec::new();
    for (i, message) in file.message_type.iter().enumerate() {
        describe_message(message, file.package(), vec![step::FILE_MESSAGE, i as i32], &mut notes);
    }
    for (i, enumeration) in file.enum_type.iter().enumerate() {
        describe_enum(enumeration, file.package(), vec![step::FILE_ENUM, i as i32], &mut notes);
    }

    let locations = &mut file.source_code_info.get_or_insert_default().location;
    for location in locations.iter_mut() {
        for comment in [&mut location.leading_comments, &mut location.trailing_comments].into_iter().flatten()
        {
            *comment = as_text(comment);
        }
    }
    let index: HashMap<Vec<i32>, usize> =
        locations.iter().enumerate().map(|(i, location)| (location.path.clone(), i)).collect();
    for Note { path, deprecated, fallback } in notes {
        let i = index.get(&path).copied().unwrap_or_else(|| {
            locations.push(Location { path, ..Location::default() });
            locations.len() - 1
        });
        let location = &mut locations[i];
        if location.leading_comments.is_none() && location.trailing_comments.is_none() {
            location.leading_comments = Some(fallback);
        }
        if deprecated {
            let comment = location.leading_comments.get_or_insert_default();
            comment.insert_str(0, if comment.is_empty() { " Deprecated." } else { " Deprecated.\n\n" });
        }
    }
}

/// What an item's documentation says beside its own comment.
struct Note {
    path: Vec<i32>,
    /// Says so at the top: for messages and enums, which get no attribute.
    deprecated: bool,
    /// Stands in where there is no comment.
    fallback: String,
}

fn describe_message(message: &DescriptorProto, scope: &str, path: Vec<i32>, notes: &mut Vec<Note>) {
    let options = message.options.clone().unwrap_or_default();
    let full_name = names::service(scope, message.name());
    let mut note = |steps: &[i32], deprecated, fallback| {
        notes.push(Note { path: [&path, steps].concat(), deprecated, fallback });
    };
    note(&[], options.deprecated(), format!(" Message `{full_name}`."));
    for (i, field) in message.field.iter().enumerate() {
        let text = format!(" Field `{}`, number {}.", field.name(), field.number());
        note(&[step::MESSAGE_FIELD, i as i32], false, text);
    }
    for (i, oneof) in message.oneof_decl.iter().enumerate() {
        let text = format!(" At most one field of `{}`.", oneof.name());
        note(&[step::MESSAGE_ONEOF, i as i32], false, text);
    }
    for (i, nested) in message.nested_type.iter().enumerate() {
        describe_message(nested, &full_name, [&path[..], &[step::MESSAGE_MESSAGE, i as i32]].concat(), notes);
    }
    for (i, nested) in message.enum_type.iter().enumerate() {
        describe_enum(nested, &full_name, [&path[..], &[step::MESSAGE_ENUM, i as i32]].concat(), notes);
    }
}

fn describe_enum(enumeration: &EnumDescriptorProto, scope: &str, path: Vec<i32>, notes: &mut Vec<Note>) {
    for (i, value) in enumeration.value.iter().enumerate() {
        notes.push(Note {
            path: [&path[..], &[step::ENUM_VALUE, i as i32]].concat(),
            deprecated: false,
            fallback: format!(" Value `{}`, number {}.", value.name(), value.number()),
        });
    }
    let options = enumeration.options.clone().unwrap_or_default();
    let fallback = format!(" Enum `{}`.", names::service(scope, enumeration.name()));
    notes.push(Note { path, deprecated: options.deprecated(), fallback });
}

/// Marks code blocks as text: fenced ones by their label, indented ones by a fence around them.
///
/// Indented is what has four spaces or more after the slashes, and an empty line before it: where a line
/// begins with two, prost-build puts one more before them, and rustdoc takes one away.
fn as_text(comment: &str) -> String {
    const FENCE: &str = " ```";
    const INDENT: usize = 4;
    let mut lines: Vec<String> = Vec::new();
    let mut fenced = false;
    let mut indented = false;
    let mut after_empty = true;
    for line in comment.lines() {
        // A tab opens a code block as four spaces do.
        let line = line.replace('\t', "    ");
        let bare = line.trim();
        let depth = line.len() - line.trim_start_matches(' ').len();
        if indented && !bare.is_empty() && depth < INDENT {
            lines.push(FENCE.to_owned());
            indented = false;
        }
        if bare.starts_with("```") {
            fenced = !fenced;
            lines.push(if fenced { format!("{FENCE}text") } else { FENCE.to_owned() });
        } else {
            if !fenced && !indented && after_empty && depth >= INDENT {
                lines.push(format!("{FENCE}text"));
                indented = true;
            }
            // Inside our fence the spaces have done their work.
            let text = if indented && depth >= INDENT { &line[INDENT..] } else { &line };
            lines.push(text.to_owned());
        }
        after_empty = bare.is_empty();
    }
    // A fence that the comment left open would swallow the documentation that follows it.
    if fenced || indented {
        lines.push(FENCE.to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::as_text;

    #[test]
    fn prose_stays_as_it_is() {
        let prose = " One line,\n and another.\n\n - a list\n   that goes on";
        assert_eq!(as_text(prose), prose);
    }

    #[test]
    fn fences_are_labelled_as_text() {
        assert_eq!(as_text(" a\n ```\n x()\n ```\n b"), " a\n ```text\n x()\n ```\n b");
        assert_eq!(as_text(" ```rust\n x()\n ```"), " ```text\n x()\n ```");
        assert_eq!(as_text(" ```\n never closed"), " ```text\n never closed\n ```");
    }

    #[test]
    fn indented_code_is_fenced() {
        assert_eq!(as_text(" a\n\n     x()\n\n     y()\n b"), " a\n\n ```text\n x()\n\n y()\n ```\n b");
        assert_eq!(as_text(" a\n     goes on"), " a\n     goes on");
        assert_eq!(as_text(" \tx()"), " ```text\n x()\n ```");
        assert_eq!(as_text(" a\n\n\tx()\n b"), " a\n\n ```text\nx()\n ```\n b");
        assert_eq!(as_text("    x()"), " ```text\nx()\n ```");
        assert_eq!(as_text(" a\n\n   goes on"), " a\n\n   goes on");
        assert_eq!(as_text("     x()"), " ```text\n x()\n ```");
    }
}
