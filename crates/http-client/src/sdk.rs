//! aws-sdk-ssm over our own HTTP client, so that there is one HTTP and one TLS stack.

use crate::{CALL_TIMEOUT, Client};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::Request;
use http_body_util::{BodyExt, Full};

/// The client as the SDK wants it.
#[derive(Debug, Clone)]
pub struct SdkClient(pub Client);

impl HttpConnector for SdkClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let request = Request::from_parts(parts, Full::new(body));
            let answer = client
                .send(request, CALL_TIMEOUT)
                .await
                .map_err(|reason| ConnectorError::io(reason.into()))?;
            answer.map(SdkBody::from).try_into().map_err(|error: aws_smithy_runtime_api::http::HttpError| {
                ConnectorError::other(error.into(), None)
            })
        })
    }
}

impl HttpClient for SdkClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
