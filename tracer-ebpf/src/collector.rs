//! Tells the collector who it is on the host: in a container it cannot know. Never attached: the collector
//! runs it once, in its own context.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::Collector;

use crate::{
    maps::COLLECTOR,
    process::{self, Actor},
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn collector(_ctx: RawTracePointContext) -> i32 {
    if let Some(told) = COLLECTOR.get_ptr_mut(0) {
        let (pidns, pid_level) = process::innermost_pidns();
        // SAFETY: a map value that the verifier knows of.
        unsafe {
            *told = Collector {
                pid: Actor::current().pid,
                pidns,
                pid_level,
            };
        }
    }
    0
}
