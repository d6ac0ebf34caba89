//! Answers over HTTP, each client within bounds of number, time and size; never touches the watch.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::atomic::Ordering;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{Numbers, Shared};
use crate::sink::metrics::{self, CONTENT_TYPE};

/// Clients that are answered at once; further ones wait in the kernel's queue. A monitor is one client,
/// and a kubelet that asks for the health another.
pub(super) const CLIENTS_MAX: usize = 16;

/// A client has so long for its request's head.
const HEAD_TIME: Duration = Duration::from_secs(2);

/// And for all of it, so that one who reads slowly gives its place to another.
const CLIENT_TIME: Duration = Duration::from_secs(10);

/// A request's head is at most so large: the least that hyper takes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Numbers come within a tick of half a second, unless the watch hangs.
const NUMBERS_TIME: Duration = Duration::from_secs(5);

/// After a client could not be accepted: descriptors that are free again may take a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a request may be answered with beside the metrics.
type Told = watch::Receiver<Option<Arc<Numbers>>>;

/// Listens, and answers from a thread of its own until the program ends; gives the address. The thread
/// does `first` what it is given.
pub(super) fn start(
    at: SocketAddr,
    shared: Arc<Shared>,
    told: Told,
    first: impl FnOnce() + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(at)?;
    let at = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("tracer-metrics".to_owned())
        .spawn(move || {
            first();
            if let Err(error) = runtime.block_on(accept(listener, shared, told)) {
                log::error!("metrics are no longer served: {error}");
            }
        })?;
    Ok(at)
}

async fn accept(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    numbers: Told,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (text, texts) = watch::channel(Bytes::new());
    tokio::spawn(render(numbers, text));
    let slots = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (shared, texts) = (Arc::clone(&shared), texts.clone());
                tokio::spawn(async move {
                    // A client that is too slow, or says nothing of use, is not worth a word.
                    let _ = timeout(CLIENT_TIME, client(stream, shared, texts)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                log::debug!("a client cannot be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Makes text of numbers once, however many wait for it.
async fn render(mut numbers: Told, text: watch::Sender<Bytes>) {
    while numbers.changed().await.is_ok() {
        let latest = numbers.borrow_and_update().clone();
        let Some(latest) = latest else {
            continue;
        };
        match metrics::render(latest.totals.clone(), latest.own.clone()) {
            Ok(rendered) => {
                text.send_replace(Bytes::from(rendered));
            }
            Err(error) => log::error!("metrics cannot be written: {error}"),
        }
    }
}

async fn client(
    stream: TcpStream,
    shared: Arc<Shared>,
    texts: watch::Receiver<Bytes>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let (shared, texts) = (Arc::clone(&shared), texts.clone());
        async move { Ok::<_, Infallible>(answer(&request, &shared, texts).await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    request: &Request<Incoming>,
    shared: &Shared,
    texts: watch::Receiver<Bytes>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/metrics" => metrics(shared, texts).await,
        "/healthz" if shared.is_alive() => plain(StatusCode::OK, "ok\n"),
        "/healthz" => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the watch has not turned for 10 s\n",
        ),
        "/readyz" if shared.is_ready.load(Ordering::Relaxed) => plain(StatusCode::OK, "ok\n"),
        "/readyz" => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the hooks are not attached yet\n",
        ),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

async fn metrics(shared: &Shared, mut texts: watch::Receiver<Bytes>) -> Response<Full<Bytes>> {
    texts.mark_unchanged();
    shared.is_asked.store(true, Ordering::Relaxed);
    if let Ok(Ok(())) = timeout(NUMBERS_TIME, texts.changed()).await {
        let text = texts.borrow().clone();
        return with_type(StatusCode::OK, CONTENT_TYPE, text);
    }
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the watch gives no numbers: it has not begun, or it hangs\n",
    )
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
