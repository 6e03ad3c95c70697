//! What the texts of failures mean: the classic protocol has no codes.

use crate::rpc::{Code, Status};

/// The status that a text stands for.
///
/// A server of this library writes its status behind the words that announce a handler's failure, as
/// `CODE_NAME: text`; the published one writes any text there.
pub(super) fn status(text: &str) -> Status {
    let code = if let Some(text) = text.strip_prefix("handler error: ") {
        return handler(text);
    } else if text.starts_with("method not found: ") {
        Code::Unimplemented
    } else if text.starts_with("connection not found: ") {
        Code::Unavailable
    } else {
        Code::Unknown
    };
    Status::new(code, text)
}

fn handler(text: &str) -> Status {
    let (name, message) = text.split_once(": ").unwrap_or((text, ""));
    match Code::from_name(name) {
        // A failure that says so is no success.
        Some(Code::Ok) => Status::unknown(message),
        Some(code) => Status::new(code, message),
        None => Status::unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_servers_statuses_come_back_as_they_were() {
        for number in 1..=16 {
            for text in ["", "no such key", "a: b: c", "two\nlines"] {
                let sent = Status::new(Code::from_u32(number), text);
                assert_eq!(status(&format!("handler error: {sent}")), sent);
            }
        }
        assert_eq!(status("handler error: OK: fine"), Status::unknown("fine"));
    }

    #[test]
    fn other_texts_are_kept() {
        let cases = [
            ("handler error: proto:\u{a0}cannot parse", Code::Unknown, "proto:\u{a0}cannot parse"),
            ("handler error: NOT_A_CODE: text", Code::Unknown, "NOT_A_CODE: text"),
            ("handler error: ", Code::Unknown, ""),
            ("method not found: /a.B/C", Code::Unimplemented, "method not found: /a.B/C"),
            ("connection not found: x", Code::Unavailable, "connection not found: x"),
            ("failed to lock mmap", Code::Unknown, "failed to lock mmap"),
        ];
        for (text, code, message) in cases {
            assert_eq!(status(text), Status::new(code, message), "{text}");
        }
    }
}
