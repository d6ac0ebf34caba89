//! Looks at descriptor tables, at moments at which the kernel half's counts are known, too; never decides
//! whose are looked at.

use super::{Nets, Worker};
use crate::{
    host::{procfs::DescriptorTable, world::World},
    model::{DescriptorFact, Input, Nanos, Pid, TableFact},
};

/// How often a descriptor table is counted until the kernel half's count stands still meanwhile.
const COUNT_ATTEMPTS: u32 = 5;

/// How often a table's content is read until the kernel half's count stands still meanwhile.
const CONTENT_ATTEMPTS: u32 = 2;

/// The most descriptors whose table is read whole although it is far from full: that takes some
/// milliseconds.
const CONTENT_OF_NO_INTEREST_MAX: u64 = 1_024;

/// What a process holds that is younger than this is not read yet: most that begin end soon, and a look
/// costs them all more than it tells of them.
pub(super) const SETTLED_AGE: Nanos = Nanos::from_secs(1);

/// Whether what a table holds should be read: each descriptor takes its time, so of big tables only
/// where that is of interest.
pub(super) fn wants_content(table: &DescriptorFact, now: Nanos) -> bool {
    let is_filling = table
        .soft_limit
        .is_some_and(|limit| table.open >= limit / 2);
    let has_settled = table
        .start
        .is_none_or(|start| now.since(start) >= SETTLED_AGE);
    is_filling || (has_settled && table.open <= CONTENT_OF_NO_INTEREST_MAX)
}

impl<W, N, O> Worker<W, N, O>
where
    W: World,
    N: FnMut(Pid) -> Option<Nets>,
    O: FnMut(Input),
{
    /// Counts a process's descriptors at a moment at which the kernel half's count is known: only
    /// then do both belong together.
    pub(super) fn count_descriptors(&mut self, pid: Pid) -> Option<DescriptorFact> {
        let here = self.world.pid_here(pid)?;
        let mut last = None;
        for _ in 0..COUNT_ATTEMPTS {
            let before = (self.nets_of)(pid);
            let DescriptorTable {
                start,
                open,
                soft_limit,
                hard_limit,
            } = self.world.descriptor_table(here)?;
            let stood_still = (self.nets_of)(pid) == before;
            last = Some(DescriptorFact {
                pid,
                start,
                open,
                net: before.filter(|_| stood_still).map(|nets| nets.iter().sum()),
                soft_limit,
                hard_limit,
            });
            if stood_still {
                break;
            }
        }
        last
    }

    /// What a process's descriptor table holds, in the numbers of the kernel half.
    pub(super) fn table_as_told(&mut self, pid: Pid) -> Option<TableFact> {
        let here = self.world.pid_here(pid)?;
        let mut last = None;
        for _ in 0..CONTENT_ATTEMPTS {
            let before = (self.nets_of)(pid);
            let table = self.world.table(here)?;
            let stood_still = (self.nets_of)(pid) == before;
            let nets = before.filter(|_| stood_still);
            last = Some(TableFact { pid, nets, ..table });
            if stood_still {
                break;
            }
        }
        last
    }
}
