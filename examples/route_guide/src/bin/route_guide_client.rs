//! A client of the route guide: calls each method, and prints what it is told.

use std::env;
use std::error::Error;
use std::time::Duration;

use futures_util::stream;

mmap_rpc::include_proto!("routeguide");

fn point(latitude: i32, longitude: i32) -> Point {
    Point { latitude, longitude }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("where is the server?")?;
    let client = RouteGuideClient::connect(path).await?;

    let feature = client.get_feature(point(10, 10)).timeout(Duration::from_secs(5)).await?;
    println!("here is {}", feature.get_ref().name);
    let nothing = client.get_feature(point(0, 0)).await.unwrap_err();
    println!("{:?}: {}", nothing.code(), nothing.message());

    let area = Rectangle { lo: Some(point(0, 0)), hi: Some(point(30, 30)) };
    let mut features = client.list_features(area).await?.into_inner();
    while let Some(feature) = features.message().await? {
        println!("there is {}", feature.name);
    }

    let route = stream::iter([point(10, 10), point(12, 11), point(20, 15)]);
    let summary = client.record_route().send_all(route).await?.into_inner();
    println!("passed {} points, {} known", summary.point_count, summary.feature_count);

    let note = |message: &str| RouteNote { location: Some(point(10, 10)), message: message.into() };
    let notes = stream::iter([note("a"), note("b"), note("c")]);
    let mut answers = client.route_chat().send_all(notes).await?.into_inner();
    while let Some(note) = answers.message().await? {
        println!("found note {}", note.message);
    }
    Ok(())
}
