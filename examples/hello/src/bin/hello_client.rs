//! `cargo run -p hello --bin hello_client -- /tmp/hello.sock`

mmap_rpc::include_proto!("hello");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("where is the server?")?;
    let client = GreeterClient::connect(path).wait()?;
    println!("{}", client.greet(Name { name: "Ada".into() }).wait()?.get_ref().text);
    Ok(())
}
