//! A client that outlives its servers: `cargo run --example reconnect`.
//!
//! The program starts itself again as the server, kills that process in the middle of a call, and starts
//! another one at the same path, while the client goes on calling over the same channel.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Reconnect, Server};

/// Answers with the server's process id, after as many milliseconds as the request says.
const WHO: &str = "/demo.Server/Who";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = env::args().nth(1) {
        return serve(Path::new(&path));
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");

    // Nobody is there yet: the first call waits for the server.
    let settings = Reconnect::default().longest_delay(Duration::from_millis(100));
    let channel = Channel::builder().reconnect(settings).connect_lazy(&path);
    println!("no server: the channel is {:?}", channel.state());
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let waiting = scope.spawn(|| who(&channel, 0, false));
        let mut server = start(&path)?;
        println!(
            "server {} started; the call that waited for it: {}",
            server.id(),
            told(&waiting.join().unwrap())
        );

        // One call is under way when the server dies, and may not be made twice; the other one may.
        let once = scope.spawn(|| who(&channel, 500, false));
        let again = scope.spawn(|| who(&channel, 500, true));
        thread::sleep(Duration::from_millis(200));
        server.kill()?;
        server.wait()?;
        println!("server killed; a call that was under way: {}", told(&once.join().unwrap()));
        println!("the channel is {:?}", channel.state());

        let mut server = start(&path)?;
        println!("server {} started; the idempotent call: {}", server.id(), told(&again.join().unwrap()));
        println!("the next call: {}; the channel is {:?}", told(&who(&channel, 0, false)), channel.state());
        server.kill()?;
        server.wait()?;
        Ok(())
    })
}

type Outcome = Result<String, mmap_rpc::Status>;

fn who(channel: &Channel, milliseconds: u64, idempotent: bool) -> Outcome {
    let (method, request) = (channel.method(WHO), milliseconds.to_le_bytes());
    let call = channel.raw(&method, &request).timeout(Duration::from_secs(20));
    let call = if idempotent { call.idempotent() } else { call };
    Ok(String::from_utf8_lossy(&call.wait()?.to_vec()).into_owned())
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(reply) => format!("answered by {reply}"),
        Err(status) => status.to_string(),
    }
}

fn start(path: &Path) -> Result<Child, Box<dyn Error>> {
    Ok(Command::new(env::current_exe()?).arg(path).spawn()?)
}

fn serve(path: &Path) -> Result<(), Box<dyn Error>> {
    let server = Server::builder().handlers(Handlers::Pool(4)).raw(WHO, |request, _| {
        let mut milliseconds = [0; 8];
        request.get_ref().copy_to_slice(0, &mut milliseconds);
        thread::sleep(Duration::from_millis(u64::from_le_bytes(milliseconds)));
        Ok(std::process::id().to_string().into_bytes().into())
    });
    Ok(server.bind(path)?.run()?)
}
