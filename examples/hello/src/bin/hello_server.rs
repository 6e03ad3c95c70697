//! `cargo run -p hello --bin hello_server -- /tmp/hello.sock`

use mmap_rpc::{Request, Response, Server, Status};

mmap_rpc::include_proto!("hello");

struct Polite;

impl BlockingGreeter for Polite {
    fn greet(&self, request: Request<Name>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(Greeting { text: format!("Hello, {}!", request.get_ref().name) }))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("where to listen?")?;
    Ok(Server::builder().service(GreeterServer::blocking(Polite)).bind(path)?.run()?)
}
