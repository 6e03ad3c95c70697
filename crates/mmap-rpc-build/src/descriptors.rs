//! The descriptors that a server carries: what tools list and describe it by.
//!
//! Each package with a service has a set of its own, which holds the package's files and all that they
//! import, so that whoever serves one package does not carry the others. Of the source info only what has a
//! comment is kept: where else in their files things stand is of no use without the files. Options that
//! others have defined stay, though this crate does not know them.

use std::collections::BTreeMap;

use prost_build::Module;
use protox::prost_reflect::prost::encoding::{DecodeContext, bytes, decode_key, skip_field};
use protox::prost_reflect::prost::{DecodeError, Message};
use protox::prost_reflect::prost_types::{FileDescriptorProto, SourceCodeInfo};
use protox::prost_reflect::{DescriptorPool, FileDescriptor};

use crate::error::Error;
use crate::output;

/// Numbers of `FileDescriptorSet.file` and `FileDescriptorProto.source_code_info`.
const FILE: u32 = 1;
const SOURCE_CODE_INFO: u32 = 9;

/// Set by the name of its file, for each package with a service.
pub(crate) fn of_packages(pool: &DescriptorPool) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let place = |file: &FileDescriptor| file_name(file.package_name());
    let mut sets = BTreeMap::new();
    for file in pool.files().filter(|file| file.services().len() > 0) {
        let name = place(&file);
        if sets.contains_key(&name) {
            continue;
        }
        let mut chosen = vec![false; pool.files().len()];
        pool.files().filter(|file| place(file) == name).for_each(|file| choose(&file, &mut chosen));
        let set = encode(pool.files().filter(|file| chosen[file.index()])).map_err(Error::descriptors)?;
        sets.insert(name, set);
    }
    Ok(sets)
}

/// The file of a package's set: beside that of its code, and named alike.
pub(crate) fn file_name(package: &str) -> String {
    let code = output::file_name(&Module::from_protobuf_package_name(package));
    format!("{}.descriptors.bin", code.trim_end_matches(".rs"))
}

/// A file, and all that it imports.
fn choose(file: &FileDescriptor, chosen: &mut [bool]) {
    if !std::mem::replace(&mut chosen[file.index()], true) {
        file.dependencies().for_each(|file| choose(&file, chosen));
    }
}

fn encode(files: impl Iterator<Item = FileDescriptor>) -> Result<Vec<u8>, DecodeError> {
    let mut set = Vec::new();
    for file in files {
        let mut encoded = without(SOURCE_CODE_INFO, &file.encode_to_vec())?;
        // What is encoded behind a message joins it.
        let comments = comments(file.file_descriptor_proto());
        FileDescriptorProto { source_code_info: comments, ..Default::default() }.encode_raw(&mut encoded);
        bytes::encode(FILE, &encoded, &mut set);
    }
    Ok(set)
}

/// The places of a file that have a comment.
fn comments(file: &FileDescriptorProto) -> Option<SourceCodeInfo> {
    let mut info = file.source_code_info.clone()?;
    info.location.retain_mut(|location| {
        // They belong to nothing that could be described.
        location.leading_detached_comments.clear();
        location.leading_comments.is_some() || location.trailing_comments.is_some()
    });
    (!info.location.is_empty()).then_some(info)
}

/// A message without one of its fields; the others are what they were, byte by byte.
fn without(field: u32, mut message: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut kept = Vec::with_capacity(message.len());
    while !message.is_empty() {
        let whole = message;
        let (number, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        if number != field {
            kept.extend_from_slice(&whole[..whole.len() - message.len()]);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_taken_out_and_the_others_stay() {
        // Fields 1 (varint), 9 (bytes), 2 (bytes), 9 (varint), 3 (32 bits).
        let message = [0x08, 7, 0x4a, 2, 1, 2, 0x12, 1, 5, 0x48, 0x80, 1, 0x1d, 1, 2, 3, 4];
        let kept = without(SOURCE_CODE_INFO, &message).unwrap();
        assert_eq!(kept, [0x08, 7, 0x12, 1, 5, 0x1d, 1, 2, 3, 4]);
        assert!(without(SOURCE_CODE_INFO, &message[..5]).is_err(), "cut short");
    }

    #[test]
    fn sets_are_named_as_the_code() {
        assert_eq!(file_name("cache"), "cache.descriptors.bin");
        assert_eq!(file_name("a.mod.v1"), "a.mod.v1.descriptors.bin");
        assert_eq!(file_name(""), "_.descriptors.bin");
    }
}
