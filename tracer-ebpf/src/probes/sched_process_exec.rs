//! Tracepoint `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`,
//! since 3.4: a process has replaced its program and goes by another name. Never sees a failed exec.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    filter,
    process::{self, Actor},
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(_ctx: RawTracePointContext) -> i32 {
    let actor = Actor::current();
    // One that has done nothing yet is introduced when it does.
    if process::known_counters(actor.pid).is_some() && filter::wants_task(actor.pid) {
        process::introduce(actor, true);
    }
    0
}
