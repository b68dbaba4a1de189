//! Turns what tonic answers with a gRPC error into a denied response.
//!
//! A message that is too large, truncated or compressed in an unknown way is
//! refused before our code sees it. Envoy treats the resulting gRPC error as a
//! failure of the service, and with `failure_mode_allow` lets the request pass.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use proto::envoy::service::auth::v3::CheckResponse;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

/// A service whose `Check` always answers with a `CheckResponse`.
#[derive(Debug)]
pub(crate) struct AlwaysAnswers<S, D> {
    inner: S,
    /// The answer to a question that cannot be read.
    denial: Arc<D>,
}

impl<S, D> AlwaysAnswers<S, D> {
    /// Wraps `inner`; `denial` says what it answers to a question that cannot be read.
    pub(crate) fn new(inner: S, denial: D) -> Self {
        Self { inner, denial: Arc::new(denial) }
    }
}

impl<S: Clone, D> Clone for AlwaysAnswers<S, D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), denial: self.denial.clone() }
    }
}

impl<S: NamedService, D> NamedService for AlwaysAnswers<S, D> {
    const NAME: &'static str = S::NAME;
}

impl<S, D> Service<http::Request<Body>> for AlwaysAnswers<S, D>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + NamedService,
    S::Future: Send + 'static,
    D: Fn() -> CheckResponse + Send + Sync + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Other methods of the service do not exist, and the caller may know.
        let check =
            request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME)) == Some("/Check");
        let denial = self.denial.clone();
        let answered = self.inner.call(request);
        Box::pin(async move {
            let response = answered.await?;
            // A failed unary call has its status in the headers and no body.
            let failed = response.headers().get(tonic::Status::GRPC_STATUS).is_some_and(|status| status != "0");
            Ok(if check && failed { unary(&denial()) } else { response })
        })
    }
}

/// A successful unary gRPC response.
fn unary(message: &CheckResponse) -> http::Response<Body> {
    let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    let mut trailers = http::HeaderMap::new();
    trailers.insert(tonic::Status::GRPC_STATUS, http::HeaderValue::from_static("0"));
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::{Ready, ready};

    use super::*;

    /// Answers with this status of gRPC in the headers, if any, and with a header that tells it by.
    #[derive(Debug, Clone)]
    struct Inner(Option<&'static str>);

    impl NamedService for Inner {
        const NAME: &'static str = "envoy.service.auth.v3.Authorization";
    }

    impl Service<http::Request<Body>> for Inner {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            let mut response = http::Response::new(Body::empty());
            response.headers_mut().insert("x-own", http::HeaderValue::from_static("1"));
            if let Some(status) = self.0 {
                response.headers_mut().insert(tonic::Status::GRPC_STATUS, http::HeaderValue::from_static(status));
            }
            ready(Ok(response))
        }
    }

    #[tokio::test]
    async fn only_a_check_that_failed_is_answered_with_a_denial() {
        let check = "/envoy.service.auth.v3.Authorization/Check";
        for (path, status, denied) in [
            (check, Some("8"), true),
            (check, Some("12"), true),
            (check, Some("0"), false),
            (check, None, false),
            ("/envoy.service.auth.v3.Authorization/Other", Some("12"), false),
            ("/envoy.service.auth.v3.Authorization/Check/", Some("12"), false),
            ("/another.Service/Check", Some("12"), false),
        ] {
            let mut service = AlwaysAnswers::new(Inner(status), CheckResponse::default);
            let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = service.call(request).await.unwrap();
            assert_eq!(response.headers().contains_key("x-own"), !denied, "{path} {status:?}");
        }
    }
}
