//! What the work itself costs, in one process and without any hand-off.

use std::hint::black_box;

use anyhow::bail;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::{Echo, Place, Transport};
use crate::work;

/// Fills and sums a request and a reply.
#[derive(Debug)]
pub struct Work;

impl Transport for Work {
    fn name(&self) -> &'static str {
        "work"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn has_server(&self) -> bool {
        false
    }

    fn serve(&self, _: &Serving) -> anyhow::Result<()> {
        bail!("it has no server")
    }

    fn connect(&self, _: &Place) -> anyhow::Result<Box<dyn Echo>> {
        Ok(Box::new(Worker(Buffers::default())))
    }
}

/// Copies a message once.
#[derive(Debug)]
pub struct Memcpy;

impl Transport for Memcpy {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn has_server(&self) -> bool {
        false
    }

    fn serve(&self, _: &Serving) -> anyhow::Result<()> {
        bail!("it has no server")
    }

    fn connect(&self, _: &Place) -> anyhow::Result<Box<dyn Echo>> {
        Ok(Box::new(Copier(Buffers::default())))
    }
}

/// Two messages that keep their memory.
#[derive(Debug, Default)]
struct Buffers([Vec<u8>; 2]);

impl Buffers {
    fn get(&mut self, size: usize) -> [&mut [u8]; 2] {
        self.0.each_mut().map(|buffer| {
            if buffer.len() != size {
                buffer.resize(size, 1);
            }
            &mut buffer[..]
        })
    }
}

struct Worker(Buffers);

impl Echo for Worker {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let [request, reply] = self.0.get(size);
        let seed = work::seed(number);
        work::fill(request, seed);
        let sum = work::sum(request);
        work::fill(reply, work::reply_seed(sum));
        work::check(reply, size, seed)
    }
}

struct Copier(Buffers);

impl Echo for Copier {
    fn echo(&mut self, size: usize, _: u64) -> anyhow::Result<()> {
        let [from, to] = self.0.get(size);
        black_box(to).copy_from_slice(black_box(from));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_work_at_any_size() {
        let place = Place { directory: "".into(), server: 0, note: String::new(), max_size: 5000 };
        for transport in [&Work as &dyn Transport, &Memcpy] {
            let mut echo = transport.connect(&place).unwrap();
            for size in [1, 64, 5000, 64] {
                echo.echo(size, 3).unwrap();
            }
        }
    }
}
