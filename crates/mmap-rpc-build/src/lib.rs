//! Stub generator.
