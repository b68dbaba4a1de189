//! The services of a gRPC server, and the one among them that is asked with every request of a proxy.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

type Answering = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// gRPC services, found by their names.
///
/// Routing takes longer than many an answer; the hot service, if there is one, is found without.
#[derive(Clone, Default)]
pub struct Services {
    hot: Option<Hot>,
    others: Routes,
}

#[derive(Clone)]
struct Hot {
    name: &'static str,
    answer: Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

impl Services {
    /// `service` alone, which is asked more often than any other will be.
    pub fn hot<S>(service: S) -> Services
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answering>,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        // A generated server is always ready.
        let answer = Arc::new(move |request| service.clone().call(request));
        Services { hot: Some(Hot { name: S::NAME, answer }), others: Routes::default() }
    }

    /// With `service` too.
    #[must_use]
    pub fn add_service<S>(self, service: S) -> Services
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Services { hot: self.hot, others: self.others.add_service(service) }
    }

    /// Ready to be asked often.
    pub(super) fn prepared(self) -> Services {
        Services { hot: self.hot, others: self.others.prepare() }
    }
}

impl From<Routes> for Services {
    fn from(routes: Routes) -> Services {
        Services { hot: None, others: routes }
    }
}

impl Hot {
    /// A path is `/<service>/<method>`.
    fn is_meant(&self, path: &str) -> bool {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(self.name));
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Services {
    /// The answer of whichever service `request` is for.
    pub(super) fn answer(&self, request: Request<Body>) -> Answering {
        match &self.hot {
            Some(hot) if hot.is_meant(request.uri().path()) => (hot.answer)(request),
            _ => {
                let answered = self.others.clone().call(request);
                async move { Ok(answered.await.unwrap_or_else(|never| match never {})) }.boxed()
            }
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hot = self.hot.as_ref().map(|hot| hot.name);
        f.debug_struct("Services").field("hot", &hot).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_meant_by_its_whole_name() {
        let hot = Hot { name: "a.v3.B", answer: Arc::new(|_| Box::pin(async { Ok(Response::default()) })) };
        assert!(hot.is_meant("/a.v3.B/Ask") && hot.is_meant("/a.v3.B/"));
        for other in ["/a.v3.B", "/a.v3.Bc/Ask", "/a.v3/Ask", "a.v3.B/Ask", "//a.v3.B/Ask", ""] {
            assert!(!hot.is_meant(other), "{other}");
        }
    }
}
