//! Streams of each kind, sent and read by tasks and by threads: `cargo run --example streaming`.
//!
//! The service is `demo.Numbers`, of `crates/testkit/proto/demo.proto`:
//!
//! ```proto
//! rpc Count(Number) returns (stream Number);         // the numbers from one up to this one
//! rpc Sum(stream Number) returns (Number);           // their sum
//! rpc Totals(stream Number) returns (stream Number); // for each number, the sum so far
//! ```
//!
//! It is served by `async` functions and by plain ones; a task and a thread call each of the two servers. A
//! sender is ahead of its reader by `stream_window` bytes at most; then it waits.

use std::error::Error;
use std::future::ready;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use mmap_rpc::{Request, Response, Server, Status, Streaming, testing};
use testkit::demo::{BlockingNumbers, Number, Numbers, NumbersClient, NumbersServer};

type Answer<T> = Result<Response<T>, Status>;
type Item = Result<Number, Status>;

fn number(value: i64) -> Number {
    Number { value }
}

fn item(value: i64) -> Item {
    Ok(number(value))
}

/// A server of tasks: what it answers with is a stream.
struct Async;

impl Numbers for Async {
    type CountStream = BoxStream<'static, Item>;

    async fn count(&self, request: Request<Number>) -> Answer<Self::CountStream> {
        let last = request.get_ref().value;
        Ok(Response::new(stream::iter((1..=last).map(item)).boxed()))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Answer<Number> {
        let (mut numbers, mut sum) = (request.into_inner(), 0);
        while let Some(number) = numbers.message().await? {
            sum += number.value;
        }
        item(sum).map(Response::new)
    }

    type TotalsStream = BoxStream<'static, Item>;

    async fn totals(&self, request: Request<Streaming<Number>>) -> Answer<Self::TotalsStream> {
        let totals = request.into_inner().scan(0, |sum, came| ready(Some(came.map(|came| add(sum, came)))));
        Ok(Response::new(totals.boxed()))
    }
}

/// A server of threads: what it answers with is an iterator.
struct Blocking;

impl BlockingNumbers for Blocking {
    type CountStream = Box<dyn Iterator<Item = Item>>;

    fn count(&self, request: Request<Number>) -> Answer<Self::CountStream> {
        let last = request.get_ref().value;
        Ok(Response::new(Box::new((1..=last).map(item))))
    }

    fn sum(&self, request: Request<Streaming<Number>>) -> Answer<Number> {
        let mut sum = 0;
        for number in request.into_inner() {
            sum += number?.value;
        }
        item(sum).map(Response::new)
    }

    type TotalsStream = Box<dyn Iterator<Item = Item>>;

    fn totals(&self, request: Request<Streaming<Number>>) -> Answer<Self::TotalsStream> {
        let mut sum = 0;
        let totals = request.into_inner().into_iter().map(move |came| Ok(add(&mut sum, came?)));
        Ok(Response::new(Box::new(totals)))
    }
}

fn add(sum: &mut i64, came: Number) -> Number {
    *sum += came.value;
    number(*sum)
}

/// What a client was told: the numbers up to four, a sum, and totals.
type Told = (Vec<i64>, i64, Vec<i64>);

/// A client on a thread: `wait()`, and `for` loops.
fn call(client: &NumbersClient) -> Result<Told, Status> {
    let mut counted = Vec::new();
    for number in client.count(number(4)).wait()?.into_inner() {
        counted.push(number?.value);
    }
    let sum = client.sum().send_all([1, 20, 300].map(number)).wait()?.get_ref().value;

    // A conversation: the next number is sent when the last one was answered.
    let (mut sender, mut totals) = client.totals().wait()?;
    let mut heard = Vec::new();
    for value in [1, 20, 300] {
        sender.send(number(value)).wait()?;
        heard.extend(totals.message().wait()?.map(|total| total.value));
    }
    // The server sees that no more will come, and ends its own stream.
    sender.finish();
    heard.extend(totals.message().wait()?.map(|total| total.value));
    Ok((counted, sum, heard))
}

/// The same on a task: `await`, and what streams have.
async fn call_async(client: &NumbersClient) -> Result<Told, Status> {
    let numbers = client.count(number(4)).await?.into_inner();
    let counted = numbers.map_ok(|number| number.value).try_collect().await?;
    let sum = client.sum().send_all(stream::iter([1, 20, 300].map(number))).await?.get_ref().value;
    // Not a conversation: the totals are read while the numbers are sent.
    let totals = client.totals().send_all(stream::iter([1, 20, 300].map(number))).await?.into_inner();
    let heard = totals.map_ok(|total| total.value).try_collect().await?;
    Ok((counted, sum, heard))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // As between two processes, which would use `bind` and `connect`.
    let tasks = testing::pair(Server::builder().service(NumbersServer::new(Async)))?;
    let threads = testing::pair(Server::builder().service(NumbersServer::blocking(Blocking)))?;
    for (pair, server) in [(&tasks, "async"), (&threads, "blocking")] {
        let client = NumbersClient::new(pair.channel());
        let of_task = call_async(&client).await?;
        let of_thread = tokio::task::spawn_blocking(move || call(&client)).await??;
        println!("{server} server: a task was told {of_task:?}, a thread {of_thread:?}");
        let expected: Told = (vec![1, 2, 3, 4], 321, vec![1, 21, 321]);
        if of_task != expected || of_thread != expected {
            return Err(format!("expected {expected:?}").into());
        }
    }
    Ok(())
}
