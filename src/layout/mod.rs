//! The bytes of a region: header, control words, slots, and the one place where mapped bytes become words.
//!
//! The base segment, with the offsets of [`Geometry::standard`]:
//!
//! ```text
//!  offset    section                        size                    written by
//!  0x00000 ┌──────────────────────────────┐
//!          │ header                       │ 4096                    owner, once, before the peer maps it
//!  0x01000 ├──────────────────────────────┤
//!          │ ring: entry 0, 1, …          │ ring capacity * 128     owner's producers
//!  0x09000 ├──────────────────────────────┤
//!          │ control: rx_head             │ 128                     owner's consumer
//!          │          sleep               │ 128                     owner's driver
//!          │          cpu                 │ 128                     owner's driver
//!          │          want_space          │ 128                     owner's driver
//!          │          closed              │ 128                     owner, once
//!          │          fills: level, …     │ FILLS * 128             owner's writers of long messages
//!  0x09680 ├──────────────────────────────┤
//!          │ ret: parity of PEER's slots  │ HANDLE_WORDS * 8        owner's readers, by read-modify-write
//!  0x09a80 ├──────────────────────────────┤
//!          │ free: 1 = free slot of OURS  │ HANDLE_WORDS * 64       owner's allocator
//!  0x0ba80 ├──────────────────────────────┤
//!          │ zero                         │ up to a multiple of 4096
//!  0x0c000 ├──────────────────────────────┤
//!          │ class 0: slot 0, 1, …        │ slot count * slot size  owner's writers, one per claimed slot
//!          │ class 1: …                   │                         (64-aligned; page-aligned from 4 KiB up)
//!          │ …                            │
//!  0x10000 └──────────────────────────────┘ total length: a multiple of 4096
//! ```
//!
//! Only the owner writes; the peer maps the whole read-only. Everything that the peer reads here is
//! judged on a private copy: the header by [`Header::validate`], once; a descriptor by
//! [`RawOffset::check`]; payload bytes come over through [`copy_from_shared`] and nothing else. The same for
//! readers of other code is in `docs/protocol.md`.
//!
//! [`Geometry::standard`]: geometry::Geometry::standard
//! [`Header::validate`]: header::Header::validate
//! [`RawOffset::check`]: offset::RawOffset::check
//! [`copy_from_shared`]: copy::copy_from_shared

pub(crate) mod handle;
pub(crate) mod prefetch;
pub(crate) mod words;

// What lies on mapped bytes is absent from the models, whose words live in boxes and have other sizes.
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod copy;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod geometry;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod header;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod offset;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod view;

pub(crate) use handle::Handle;
pub(crate) use prefetch::{prefetch_bytes_for_write, prefetch_for_write};

#[cfg(not(mmap_rpc_loom))]
pub(crate) use {
    copy::{copy_from_shared, copy_to_slot},
    geometry::{Class, Geometry, PAGE},
    header::{HEADER_BYTES, Header},
    offset::{RawOffset, SlotBounds},
    prefetch::CACHE_LINE,
    view::{RegionView, read_header},
};
