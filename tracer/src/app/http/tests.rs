//! Servers that speak TLS, with a certificate that is to be trusted or not.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::*;

/// Posts to a server with a certificate for `localhost`, by whose name or address, trusting it or
/// nobody.
fn post(host: &str, trusts: bool) -> Result<Answer> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    if trusts {
        roots.add(cert.der().clone()).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = async {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            // Whoever does not trust the certificate goes.
            let Ok(mut stream) = stream else { return };
            let mut came = Vec::new();
            while !came.ends_with(b"the verdict") {
                stream.read_buf(&mut came).await.unwrap();
            }
            let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
        };
        let url = HttpUrl::parse(&format!("https://{host}:{port}/hook")).unwrap();
        let server = Server::with_roots(url, roots)?;
        let (answer, ()) = tokio::join!(server.post("text/plain", "the verdict".into()), serving);
        answer
    })
}

#[test]
fn a_server_that_is_trusted_is_told() {
    let answer = post("localhost", true).unwrap();
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::ACCEPTED, &b"ok"[..])
    );
}

#[test]
fn a_server_that_nobody_vouches_for_is_not() {
    let error = post("localhost", false).err().unwrap();
    assert!(format!("{error:#}").contains("UnknownIssuer"), "{error:#}");
}

#[test]
fn a_certificate_of_another_name_is_not_enough() {
    let error = post("127.0.0.1", true).err().unwrap();
    assert!(
        format!("{error:#}").contains("not valid for name"),
        "{error:#}"
    );
}

#[test]
fn what_can_have_no_certificate_is_refused_at_once() {
    let url = HttpUrl::parse("https://a_b%:1/").unwrap();
    let error = Server::new(url).err().unwrap();
    assert!(format!("{error:#}").contains("a_b%"), "{error:#}");
}
