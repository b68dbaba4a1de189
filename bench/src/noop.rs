//! The ceiling: tonic with Envoy's messages, answering OK at once.

use std::net::SocketAddr;

use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::{Request, Response, Status};

#[derive(Debug)]
struct Noop;

#[tonic::async_trait]
impl RateLimitService for Noop {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let ok = i32::from(Code::Ok);
        let status = |_| DescriptorStatus { code: ok, ..DescriptorStatus::default() };
        let statuses = request.get_ref().descriptors.iter().map(status).collect();
        Ok(Response::new(RateLimitResponse { overall_code: ok, statuses, ..RateLimitResponse::default() }))
    }
}

/// Serves until killed.
///
/// # Errors
/// When it cannot listen.
#[tokio::main]
pub async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let service = RateLimitServiceServer::new(Noop);
    Ok(tonic::transport::Server::builder().add_service(service).serve(address).await?)
}
