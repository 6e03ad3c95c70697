//! Descriptors as text: what is shown is what the file says.

use std::fs;

use prost::Message;

use super::catalog::{Catalog, Thing};
use super::text;

/// Everything that a file can say, in the form in which it is shown.
const SHOWN: &str = r#"// Keeps things.
//
//   indented
service a.b.Store {
  // Leads.
  //
  // Trails.
  rpc Put(a.b.Thing) returns (a.b.Thing.Part);
  rpc Old(a.b.Thing) returns (a.b.Thing) { option deprecated = true; }
  rpc Both(stream a.b.Thing) returns (stream a.b.Thing);
  rpc Down(a.b.Thing) returns (stream a.b.Thing);
}

message a.b.Thing {
  repeated string names = 1;
  optional uint64 size = 2;
  map<string, a.b.Thing.Part> parts = 3;
  // One of them.
  oneof choice {
    // The first.
    bytes data = 4;
    a.b.Kind kind = 5;
  }
  oneof other {
    bool flag = 6;
  }
  double last = 7 [deprecated = true];
}

message a.b.Thing.Part {
}

enum a.b.Kind {
  KIND_NONE = 0;
  // Some.
  KIND_SOME = -1;
}
"#;

const FILE: &str = r#"syntax = "proto3";
package a.b;
// Keeps things.
//
//   indented
service Store {
  // Leads.
  rpc Put(Thing) returns (Thing.Part); // Trails.
  rpc Old(Thing) returns (Thing) { option deprecated = true; }
  rpc Both(stream Thing) returns (stream Thing);
  rpc Down(Thing) returns (stream Thing);
}
message Thing {
  repeated string names = 1;
  optional uint64 size = 2;
  map<string, Part> parts = 3;
  // One of them.
  oneof choice {
    // The first.
    bytes data = 4;
    Kind kind = 5;
  }
  oneof other { bool flag = 6; }
  double last = 7 [deprecated = true];
  message Part {}
}
enum Kind {
  KIND_NONE = 0;
  // Some.
  KIND_SOME = -1;
}
"#;

fn catalog(files: &[(&str, &str)], methods: &[&str]) -> Catalog {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let names = files.iter().map(|(name, _)| folder.path().join(name));
    let set = protox::compile(names, [folder.path()]).unwrap();
    let files: Vec<_> = set.file.iter().map(Message::encode_to_vec).collect();
    Catalog::new(&methods.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &files).unwrap()
}

#[test]
fn everything_that_a_file_says_is_shown() {
    let catalog = catalog(&[("a.proto", FILE)], &[]);
    let names = ["a.b.Store", "a.b.Thing", "a.b.Thing.Part", "a.b.Kind"];
    let things: Vec<Thing> = names.iter().map(|name| catalog.find(name).unwrap()).collect();
    assert_eq!(text::describe(&things), SHOWN);
}

#[test]
fn fields_of_the_older_language_have_all_their_labels() {
    let text = "syntax = \"proto2\"; message M {
        required string a = 1; optional M b = 2; oneof c { int32 d = 3; } optional group E = 4 {} }";
    let catalog = catalog(&[("old.proto", text)], &[]);
    let shown = "message M {
  required string a = 1;
  optional M b = 2;
  oneof c {
    int32 d = 3;
  }
  optional group M.E e = 4;
}
";
    assert_eq!(text::describe(&[catalog.find("M").unwrap()]), shown);
}

#[test]
fn a_service_has_the_methods_that_are_served_whether_described_or_not() {
    let methods = ["/x.Y/Z", "/a.b.Store/More", "/a.b.Store/Old", "/a.b.Store/Put"];
    let served = catalog(&[("a.proto", FILE)], &methods).served();
    let shown = "x.Y\n  Z (not described)\n\
        a.b.Store\n  Put(a.b.Thing) returns (a.b.Thing.Part)\n  Old(a.b.Thing) returns (a.b.Thing)\n  \
        More (not described)\n";
    assert_eq!(text::list(&served), shown);
}

#[test]
fn the_end_of_a_name_is_enough_if_only_one_has_it() {
    let other = "syntax = \"proto3\"; package c; message Kind {} message Thing2 {}";
    let catalog = catalog(&[("a.proto", FILE), ("c.proto", other)], &[]);
    assert!(matches!(catalog.find("Part"), Ok(Thing::Message(_))));
    assert!(matches!(catalog.find("b.Kind"), Ok(Thing::Enum(_))));
    let error = catalog.find("Kind").unwrap_err().to_string();
    assert_eq!(error, "\"Kind\" may be each of a.b.Kind, c.Kind");
    assert!(catalog.find("hing2").is_err(), "not the end of a word");
}

#[test]
fn what_is_no_file_is_an_error() {
    assert!(Catalog::new(&[], &[b"no descriptor"]).is_err());
}
