//! The floor between two processors: a ring in shared memory, both sides spinning.

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::ring::{self, Spin};
use crate::transports::{Echo, Place, Transport};

/// The bare ring that spins.
#[derive(Debug)]
pub struct BareRing;

impl Transport for BareRing {
    fn name(&self) -> &'static str {
        "bare-ring"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood]
    }

    fn spins(&self) -> bool {
        true
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        ring::serve::<Spin>(serving, true)
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        ring::connect::<Spin>(place)
    }
}
