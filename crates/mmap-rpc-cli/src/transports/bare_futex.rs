//! The floor of sleeping sides: the same ring, whose sides sleep in a futex as soon as they wait.

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::ring::{self, Sleep};
use crate::transports::{Echo, Place, Transport};

/// The bare ring that sleeps.
#[derive(Debug)]
pub struct BareFutex;

impl Transport for BareFutex {
    fn name(&self) -> &'static str {
        "bare-futex"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Wake, Mode::OneCore]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        ring::serve::<Sleep>(serving, false)
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        ring::connect::<Sleep>(place)
    }
}
