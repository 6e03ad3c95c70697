//! The server of the route guide.

use std::env;
use std::error::Error;

use futures_util::stream::{self, BoxStream, StreamExt};
use mmap_rpc::{Request, Response, Server, Status, Streaming};

mmap_rpc::include_proto!("routeguide");

struct Guide {
    features: Vec<Feature>,
}

impl Guide {
    fn find(&self, point: &Point) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.location.as_ref() == Some(point))
    }
}

impl RouteGuide for Guide {
    async fn get_feature(&self, request: Request<Point>) -> Result<Response<Feature>, Status> {
        match self.find(request.get_ref()) {
            Some(feature) => Ok(Response::new(feature.clone())),
            None => Err(Status::not_found("nothing is there")),
        }
    }

    type ListFeaturesStream = BoxStream<'static, Result<Feature, Status>>;

    async fn list_features(
        &self,
        request: Request<Rectangle>,
    ) -> Result<Response<Self::ListFeaturesStream>, Status> {
        let area = request.into_inner();
        let inside = self.features.iter().filter(|feature| is_inside(feature, &area));
        let features: Vec<_> = inside.cloned().map(Ok).collect();
        Ok(Response::new(stream::iter(features).boxed()))
    }

    async fn record_route(
        &self,
        request: Request<Streaming<Point>>,
    ) -> Result<Response<RouteSummary>, Status> {
        let mut points = request.into_inner();
        let mut summary = RouteSummary::default();
        while let Some(point) = points.message().await? {
            summary.point_count += 1;
            summary.feature_count += i32::from(self.find(&point).is_some());
        }
        Ok(Response::new(summary))
    }

    type RouteChatStream = BoxStream<'static, Result<RouteNote, Status>>;

    async fn route_chat(
        &self,
        request: Request<Streaming<RouteNote>>,
    ) -> Result<Response<Self::RouteChatStream>, Status> {
        let mut left: Vec<RouteNote> = Vec::new();
        let answers = request.into_inner().flat_map(move |note| stream::iter(answer(&mut left, note)));
        Ok(Response::new(answers.boxed()))
    }
}

/// The notes that were left where this one is left now.
fn answer(left: &mut Vec<RouteNote>, note: Result<RouteNote, Status>) -> Vec<Result<RouteNote, Status>> {
    let note = match note {
        Ok(note) => note,
        Err(status) => return vec![Err(status)],
    };
    let here = left.iter().filter(|earlier| earlier.location == note.location).cloned().map(Ok).collect();
    left.push(note);
    here
}

fn is_inside(feature: &Feature, area: &Rectangle) -> bool {
    let (Some(at), Some(lo), Some(hi)) = (&feature.location, &area.lo, &area.hi) else { return false };
    let between = |value, a: i32, b: i32| (a.min(b)..=a.max(b)).contains(&value);
    between(at.latitude, lo.latitude, hi.latitude) && between(at.longitude, lo.longitude, hi.longitude)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let feature = |name: &str, latitude, longitude| Feature {
        name: name.into(),
        location: Some(Point { latitude, longitude }),
    };
    let guide = Guide { features: vec![feature("an inn", 10, 10), feature("a mill", 20, 15)] };
    let path = env::args().nth(1).ok_or("where to listen?")?;
    Server::builder().service(RouteGuideServer::new(guide)).serve(path).await?;
    Ok(())
}
