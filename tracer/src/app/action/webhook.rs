//! Posts verdicts to the user's server, from a thread that has no rights; never tries again, as its time is
//! bounded and the next verdict tells more.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::timeout,
};

use super::{super::http::Server, Counts};

/// At the end of the watch the last ones have so long.
const LAST_TIME: Duration = Duration::from_secs(3);

/// A verdict on its way, with the place that it takes among those that run at once.
type Posting = (Bytes, OwnedSemaphorePermit);

/// The watch's end of the postings. Dropping it gives the last ones a moment.
pub(super) struct Webhook {
    /// As many wait as have a place.
    postings: Option<mpsc::UnboundedSender<Posting>>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Starts the thread, which does `first` what it is given.
    pub(super) fn start(
        server: Server,
        time_max: Duration,
        counts: Arc<Counts>,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (postings, queue) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("tracer-webhook".to_owned())
            .spawn(move || {
                first();
                runtime.block_on(post_all(server, time_max, counts, queue));
                // A name that is being looked up is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            postings: Some(postings),
            thread: Some(thread),
        })
    }

    /// Posts a verdict, a JSON line.
    pub(super) fn post(&self, verdict: String, slot: OwnedSemaphorePermit) {
        if let Some(postings) = &self.postings {
            // It ends with this handle.
            let _ = postings.send((Bytes::from(verdict), slot));
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.postings = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that posts verdicts had ended early");
        }
    }
}

async fn post_all(
    server: Server,
    time_max: Duration,
    counts: Arc<Counts>,
    mut queue: mpsc::UnboundedReceiver<Posting>,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            posting = queue.recv() => match posting {
                Some((body, slot)) => {
                    let posted = post(server.clone(), body, time_max, Arc::clone(&counts));
                    running.spawn(async move {
                        posted.await;
                        drop(slot);
                    });
                }
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
    if timeout(LAST_TIME, running.join_all()).await.is_err() {
        log::warn!("the server of --on-verdict was not told of the last verdicts in time");
    }
}

async fn post(server: Server, body: Bytes, time_max: Duration, counts: Arc<Counts>) {
    let at = server.authority();
    let count = match timeout(time_max, server.post("application/json", body)).await {
        Ok(Ok(answer)) if answer.status.is_success() => &counts.ended_well,
        Ok(Ok(answer)) => {
            log::warn!(
                "the server of --on-verdict at {at} answers {}",
                answer.status
            );
            &counts.failed
        }
        Ok(Err(error)) => {
            log::warn!("the server of --on-verdict at {at} is not told of a verdict: {error:#}");
            &counts.failed
        }
        Err(_) => {
            log::warn!("the server of --on-verdict at {at} took longer than its time");
            &counts.timed_out
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
}
