//! The typed face of a channel, and the blocking driver behind it.

mod lead;
