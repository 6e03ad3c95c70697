//! Plain values: they arrive as they are, and what is none of theirs is refused with both lengths.

use mmap_rpc::codec::{Pod, Raw};
use mmap_rpc::server::{Exchange, Handled, Handlers, Service};
use mmap_rpc::{Code, Request, Response, Streaming};
use zerocopy::{FromBytes, Immutable, IntoBytes, TryFromBytes};

use crate::{runtime, site};

const MIRROR: &str = "/codec.Points/Mirror";
const MIRROR_ASYNC: &str = "/codec.Points/MirrorAsync";
const SUM: &str = "/codec.Points/Sum";
const COUNT: &str = "/codec.Points/Count";
const TURN: &str = "/codec.Points/Turn";

testkit::on_every_way![
    values_go_there_and_back,
    values_go_and_come_in_streams,
    other_lengths_are_refused_with_both,
    bytes_that_are_no_value_are_refused,
];

#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
    name: u64,
}

/// A value that travels in a slot.
type Row = [Point; 1000];

/// A byte that can be 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable)]
#[repr(u8)]
enum Side {
    Left,
    Right,
}

struct Points;

fn mirrored(Pod(point): Pod<Point>) -> Pod<Point> {
    Pod(Point { x: point.y, y: point.x, name: !point.name })
}

impl Service for Points {
    fn name(&self) -> &'static str {
        "codec.Points"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[MIRROR, MIRROR_ASYNC, SUM, COUNT, TURN]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange
                .unary(|request: Request<Pod<Point>>| Ok(Response::new(mirrored(request.into_inner())))),
            1 => exchange.unary_async(|request: Request<Pod<Point>>| async {
                tokio::task::yield_now().await;
                Ok(Response::new(mirrored(request.into_inner())))
            }),
            2 => exchange.client_streaming(|request: Request<Streaming<Pod<Row>>>| {
                let mut sum = 0.0;
                for row in request.into_inner() {
                    sum += row?.0.iter().map(|point| point.x).sum::<f64>();
                }
                Ok(Response::new(Pod(sum)))
            }),
            3 => exchange.server_streaming(|request: Request<Pod<u32>>| {
                Ok(Response::new((0..request.get_ref().0).map(|number| Ok(Pod(number)))))
            }),
            _ => exchange.unary(|request: Request<Pod<Side>>| {
                Ok(Response::new(Pod(match request.get_ref().0 {
                    Side::Left => Side::Right,
                    Side::Right => Side::Left,
                })))
            }),
        }
    }
}

fn point(number: u64) -> Point {
    Point { x: number as f64 / 3.0, y: -1.0 / number as f64, name: number << 40 | number }
}

fn values_go_there_and_back() {
    let runtime = runtime();
    for handlers in [Handlers::Inline, Handlers::Pool(2)] {
        let (_server, channel) = site(Points, handlers);
        for method in [MIRROR, MIRROR_ASYNC].map(|name| channel.method(name)) {
            for number in 1..100 {
                let sent = Pod(point(number));
                let call = || channel.unary::<_, Pod<Point>>(&method, sent.into());
                assert_eq!(call().wait().unwrap().into_inner(), mirrored(sent));
                let awaited = runtime.block_on(async { call().await });
                assert_eq!(awaited.unwrap().into_inner(), mirrored(sent));
            }
        }
        let turned = channel.unary::<_, Pod<Side>>(&channel.method(TURN), Pod(Side::Left).into()).wait();
        assert_eq!(turned.unwrap().into_inner(), Pod(Side::Right));
    }
}

fn values_go_and_come_in_streams() {
    let (runtime, (_server, channel)) = (runtime(), site(Points, Handlers::Inline));
    let rows: Vec<Row> =
        (0..40).map(|row| std::array::from_fn(|at| point(1 + row * 1000 + at as u64))).collect();
    let sum: f64 = rows.iter().map(|row| row.iter().map(|point| point.x).sum::<f64>()).sum();
    let method = channel.method(SUM);
    let (mut sender, reply) = channel.client_streaming::<Pod<Row>, Pod<f64>>(&method).wait().unwrap();
    for row in &rows {
        sender.send(Pod(*row)).wait().unwrap();
    }
    sender.finish();
    assert_eq!(reply.wait().unwrap().into_inner(), Pod(sum));

    let count = channel.server_streaming::<_, Pod<u32>>(&channel.method(COUNT), Pod(1000_u32).into());
    let counted = runtime.block_on(async {
        let (mut messages, mut all) = (count.await.unwrap().into_inner(), Vec::new());
        while let Some(Pod(number)) = messages.message().await.unwrap() {
            all.push(number);
        }
        all
    });
    assert_eq!(counted, (0..1000).collect::<Vec<_>>());
}

fn other_lengths_are_refused_with_both() {
    let (_server, channel) = site(Points, Handlers::Inline);
    let (mirror, sum) = (channel.method(MIRROR), channel.method(SUM));
    for length in [0, 1, 23, 25, 48, 5_000] {
        let bytes = Raw(vec![0; length]);
        let status = channel.unary::<_, Raw>(&mirror, bytes.clone().into()).wait().unwrap_err();
        let name = std::any::type_name::<Point>();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(
            status.message(),
            format!("the request does not decode: {length} bytes came where {name} has 24")
        );
        let (mut sender, reply) = channel.client_streaming::<Raw<Vec<u8>>, Raw>(&sum).wait().unwrap();
        sender.send(bytes).wait().unwrap();
        let status = reply.wait().unwrap_err();
        assert!(status.message().contains(&format!("{length} bytes came where")), "{status}");
    }
    let status = channel.unary::<_, Pod<u32>>(&mirror, Pod(point(1)).into()).wait().unwrap_err();
    assert_eq!(status.message(), "the reply does not decode: 24 bytes came where u32 has 4");
    let reply = channel.unary::<_, Pod<Point>>(&mirror, Pod(point(1)).into()).wait().unwrap();
    assert_eq!(reply.into_inner(), mirrored(Pod(point(1))));
}

fn bytes_that_are_no_value_are_refused() {
    let (_server, channel) = site(Points, Handlers::Inline);
    let turn = channel.method(TURN);
    let status = channel.unary::<_, Pod<Side>>(&turn, Pod(2_u8).into()).wait().unwrap_err();
    let name = std::any::type_name::<Side>();
    assert_eq!(status.message(), format!("the request does not decode: the 1 bytes that came are no {name}"));
    let turned = channel.unary::<_, Pod<Side>>(&turn, Pod(1_u8).into()).wait().unwrap();
    assert_eq!(turned.into_inner(), Pod(Side::Left));
}
