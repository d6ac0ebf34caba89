//! Posts something to an HTTP server, by TLS where its address says so; never follows it elsewhere, and
//! never tries again.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header,
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use crate::cli::HttpUrl;

/// An answer is a few words, or one of a proxy that is nothing of the kind.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A server, with what its certificate is judged by.
#[derive(Clone)]
pub(super) struct Server {
    url: HttpUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Server {
    /// The server at this address. Reads this machine's authorities where TLS is to be spoken, so that
    /// nothing has to be read later; those of Mozilla stand for them where there are none, as in an image
    /// that has nothing but tracer.
    ///
    /// Fails where the server's name is none that a certificate could have.
    pub(super) fn new(url: HttpUrl) -> Result<Self> {
        if !url.is_tls {
            return Ok(Self { url, tls: None });
        }
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            log::info!("this machine has no authorities for certificates: Mozilla's are taken");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self::with_roots(url, roots)
    }

    /// The server at this address, whose certificate must be of one of these authorities.
    fn with_roots(url: HttpUrl, roots: RootCertStore) -> Result<Self> {
        let host = &url.host;
        let name = ServerName::try_from(host.clone());
        let name =
            name.with_context(|| format!("{host} is no name that a certificate could have"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Some((TlsConnector::from(Arc::new(config)), name));
        Ok(Self { url, tls })
    }

    /// Its name and port as they were given.
    pub(super) fn authority(&self) -> &str {
        &self.url.authority
    }

    /// Posts this, and gives the answer, whatever it is.
    pub(super) async fn post(&self, content_type: &'static str, body: Bytes) -> Result<Answer> {
        let stream = TcpStream::connect((&*self.url.host, self.url.port)).await?;
        match &self.tls {
            None => self.post_by(TokioIo::new(stream), content_type, body).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                self.post_by(TokioIo::new(stream), content_type, body).await
            }
        }
    }

    async fn post_by(
        &self,
        stream: impl Read + Write + Send + Unpin + 'static,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Answer> {
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&*self.url.path)
            .header(header::HOST, &*self.url.authority)
            .header(header::CONTENT_TYPE, content_type)
            .header(
                header::USER_AGENT,
                concat!("tracer/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait = wait.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await;
        connection.abort();
        Ok(Answer {
            status,
            retry_after: wait.map(Duration::from_secs),
            // It has taken what was posted, whatever it says of that.
            body: body.map(Collected::to_bytes).unwrap_or_default(),
        })
    }
}
