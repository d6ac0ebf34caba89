//! The loop that empties the ring buffer. It copies and leaves: it never decodes, formats, looks
//! anything up, or takes a lock that others hold.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, mpsc},
    time,
};

use crate::model::Nanos;

/// The kernel half wakes the loop only when much waits (see its `emit`), so the loop looks for
/// itself this often: it bounds how old an event can get.
const POLL: Duration = Duration::from_millis(50);

/// The longest time between two looks into a ring that stays empty; each look that finds nothing doubles
/// it. Events that come then are not much, and a verdict is still told within a second.
const POLL_QUIET: Duration = Duration::from_millis(400);

/// Batches that may wait for the engine. Beyond that the loop waits too, and the ring buffer fills
/// up in the kernel, where each event that finds no room is counted.
const BATCHES_WAITING_MAX: usize = 64;

/// A batch is passed on once it holds this much, so that memory stays bounded however fast events
/// come.
const BATCH_BYTES: usize = 256 << 10;

/// Records as they lay in the ring buffer, each behind its length.
#[derive(Clone, Debug, Default)]
pub struct Batch(Bytes);

impl Batch {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let length = u32::from_ne_bytes(*length) as usize;
            let record = behind.get(..length)?;
            rest = &behind[length..];
            Some(record)
        })
    }
}

/// The receiving end of the loop, which runs in a thread of its own. Dropping it ends the loop.
pub struct Drain {
    batches: mpsc::Receiver<Batch>,
    stop: Arc<Notify>,
    drained_to: Arc<AtomicU64>,
}

impl Drain {
    /// `clock` is that of the events; the thread does `first` what it is given.
    pub(super) fn start(
        ring: RingBuf<MapData>,
        clock: fn() -> Nanos,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let drained_to = Arc::new(AtomicU64::new(0));
        let reached = Arc::clone(&drained_to);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("tracer-drain".to_owned())
            .spawn(move || {
                first();
                if let Err(error) =
                    runtime.block_on(drain(ring, clock, &sender, &stopped, &reached))
                {
                    log::error!("the ring buffer can no longer be read: {error}");
                }
            })?;
        Ok(Self {
            batches,
            stop,
            drained_to,
        })
    }

    /// Ends the loop once it has emptied the ring a last time; what it found still comes.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// The time up to which all events have been passed on as batches, which may still wait here.
    pub fn drained_to(&self) -> Nanos {
        Nanos(self.drained_to.load(Ordering::Acquire))
    }

    /// A batch that waits already.
    pub fn try_next(&mut self) -> Option<Batch> {
        self.batches.try_recv().ok()
    }

    /// The next batch; `None` when the loop has ended.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

async fn drain(
    ring: RingBuf<MapData>,
    clock: fn() -> Nanos,
    batches: &mpsc::Sender<Batch>,
    stop: &Notify,
    drained_to: &AtomicU64,
) -> io::Result<()> {
    // SAFETY: aya's ring buffer owns its descriptor for as long as it lives, always tells the same
    // one, and has no method to close or replace it.
    let mut ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
    let mut poll = POLL;
    let mut buffer = BytesMut::new();
    let mut last_round = false;
    while !last_round {
        tokio::select! {
            () = batches.closed() => return Ok(()),
            () = stop.notified() => last_round = true,
            readable = ring.readable_mut() => readable?.clear_ready(),
            () = time::sleep(poll) => {}
        }
        poll = (poll * 2).min(POLL_QUIET);
        loop {
            let now = clock();
            let emptied = copy_out(ring.get_mut(), &mut buffer);
            if !buffer.is_empty() {
                poll = POLL;
                if batches.send(Batch(buffer.split().freeze())).await.is_err() {
                    return Ok(());
                }
            }
            if emptied {
                drained_to.store(now.0, Ordering::Release);
                break;
            }
        }
    }
    Ok(())
}

/// Copies records until the ring is empty (true) or the batch is large enough (false).
fn copy_out(ring: &mut RingBuf<MapData>, buffer: &mut BytesMut) -> bool {
    while buffer.len() < BATCH_BYTES {
        let Some(record) = ring.next() else {
            return true;
        };
        // A record is at most as long as the ring, which is at most 1 GiB.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the kernel's own lengths are 30 bits"
        )]
        buffer.put_u32_ne(record.len() as u32);
        buffer.put_slice(&record);
    }
    false
}
