//! Tracepoint `sched_process_exit(struct task_struct *p)` (since 6.16 with one more argument): a
//! thread ends; with the last one its process, whose exact totals are then told. Never sees the
//! descriptors that the end itself closes: they follow.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{EventKind, ExitEvent};

use crate::{
    emit,
    maps::PROCESSES,
    process::{self, Actor},
};

const KIND: EventKind = EventKind::Exit;

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    let actor = Actor::current();
    if let Some(counters) = process::known_counters(actor.pid)
        && process::is_last_thread()
    {
        emit::see(KIND);
        let streamed = emit::stream::<ExitEvent>(
            KIND,
            #[inline(always)]
            |event| {
                // SAFETY: the record was reserved with this very type; `counters` is a map value.
                unsafe {
                    emit::fill_header(&raw mut (*event).header, KIND, actor);
                    process::copy_comm(&raw mut (*event).comm, process::current_task());
                    process::copy_counters(&raw mut (*event).counters, counters);
                }
            },
        );
        if streamed {
            let _ = PROCESSES.remove(actor.pid);
        } else {
            process::keep_for_collector(counters);
        }
    }
    0
}
