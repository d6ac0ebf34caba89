//! Puts what happened in the order of time, so that cause and effect stand below each other; never
//! says which is which.

use std::fmt::Write as _;

use crate::{
    analysis::{
        Report, Series,
        report::{Finding, Verdict},
        series::{Count, LossCause, ProcessSeries},
    },
    model::{Nanos, Session},
};

use super::super::{clock::time_of_day, errno, sentence, units::counted};

/// As many as are read; the timeline has all.
const MOMENTS: usize = 24;

/// Something that happened.
pub(super) struct Moment {
    /// When, for sorting and for the link into the timeline.
    at: Nanos,
    /// Its offset from the timeline's begin.
    pub(super) offset_ms: u64,
    /// When, as a time of day.
    pub(super) time: String,
    /// What sort of thing it is, for its mark.
    pub(super) kind: &'static str,
    /// Who did it; empty for the machine as a whole.
    pub(super) who: String,
    /// What happened; continues after `who`.
    pub(super) what: String,
}

/// The moments worth telling.
pub(super) struct Story {
    pub(super) moments: Vec<Moment>,
    /// How many more there are.
    pub(super) left_out: usize,
}

/// What happened, in order.
pub(super) fn of(report: &Report, series: &Series) -> Story {
    let mut teller = Teller {
        session: &report.session,
        series,
        moments: Vec::new(),
    };
    for verdict in &report.verdicts {
        teller.verdict(verdict);
    }
    for process in &series.processes {
        teller.process(process);
    }
    for (cause, counts) in &series.lost {
        teller.loss(*cause, counts);
    }
    let mut moments = teller.moments;
    moments.sort_by_key(|moment| moment.at);
    let left_out = moments.len().saturating_sub(MOMENTS);
    moments.truncate(MOMENTS);
    Story { moments, left_out }
}

struct Teller<'a> {
    session: &'a Session,
    series: &'a Series,
    moments: Vec<Moment>,
}

impl Teller<'_> {
    fn tell(&mut self, at: Nanos, kind: &'static str, who: String, what: String) {
        self.moments.push(Moment {
            at,
            offset_ms: at.since(self.series.start).0 / 1_000_000,
            time: time_of_day(self.session, at, self.session.start),
            kind,
            who,
            what,
        });
    }

    /// When a bucket begins.
    fn begin_of(&self, bucket: u32) -> Nanos {
        let since = self.series.width.0.saturating_mul(u64::from(bucket));
        self.series.start + Nanos(since)
    }

    fn verdict(&mut self, verdict: &Verdict) {
        // The thread is told beside; here one line has to do.
        let who = match verdict.who.children {
            Some(_) => sentence::who(&verdict.who),
            None => sentence::process(&verdict.who.comm, verdict.who.pid),
        };
        let name = verdict.finding.name();
        let begins = match &verdict.finding {
            Finding::FdBurst(burst) => {
                let mut text = format!("opens {}", counted(burst.opens, "file"));
                if let (Some(peak), Some(limit)) = (burst.fds_peak, burst.fd_limit) {
                    let _ = write!(text, ": {peak} descriptors of {limit} at the peak");
                }
                text
            }
            Finding::FdExhaustion(found) => {
                let first = &found.first_failure;
                let mut text = format!("gets no more descriptors ({})", errno::name(first.errno));
                if let Some(call) = first.call {
                    let _ = write!(text, ": {call} fails first");
                }
                text
            }
            Finding::FdNearLimit(found) => {
                let (peak, limit) = (found.fds_peak, found.fd_limit);
                format!("nears its limit: {peak} descriptors of {limit} at the peak")
            }
            finding => format!("{} begins", sentence::label(finding).to_lowercase()),
        };
        self.tell(verdict.first_seen, name, who.clone(), begins);
        if let Finding::FdExhaustion(found) = &verdict.finding
            && let Some(recovered) = found.recovered
        {
            let what = "gets descriptors again".to_owned();
            self.tell(recovered, "end", who, what);
            return;
        }
        let is_long = !matches!(verdict.finding, Finding::FdBurst(_));
        if is_long && !verdict.ongoing {
            let label = sentence::label(&verdict.finding).to_lowercase();
            self.tell(
                verdict.last_seen,
                "end",
                who,
                format!("{label}: the last time"),
            );
        }
    }

    fn process(&mut self, process: &ProcessSeries) {
        let who = || sentence::process(&process.who.comm, process.who.pid);
        if let (Some(first), Some(last)) = (process.refused.first(), process.refused.last()) {
            let total = counted(total(&process.refused), "descriptor");
            let at = self.begin_of(first.bucket);
            let what = format!("the first descriptor is refused (EMFILE); {total} in all");
            self.tell(at, "refused", who(), what);
            if last.bucket > first.bucket {
                let at = self.begin_of(last.bucket);
                let what = "the last descriptor is refused (EMFILE)".to_owned();
                self.tell(at, "end", who(), what);
            }
        }
        for (error, counts) in &process.failed {
            if let Some(first) = counts.first() {
                let name = errno::name(*error);
                let total = total(counts);
                let at = self.begin_of(first.bucket);
                let what = format!("the first connect fails with {name}; {total} in all");
                self.tell(at, "failing_connects", who(), what);
            }
        }
        if let Some(ended) = process.ended
            && !process.verdicts.is_empty()
        {
            let at = self.begin_of(ended);
            self.tell(at, "end", who(), "the process ends".to_owned());
        }
    }

    fn loss(&mut self, cause: LossCause, counts: &[Count]) {
        let Some(first) = counts.first() else {
            return;
        };
        let at = self.begin_of(first.bucket);
        let what = format!(
            "the first loss: {}; {} in all",
            loss_name(cause),
            total(counts)
        );
        self.tell(at, "lost", "tracer".to_owned(), what);
    }
}

/// A cause of loss in a few words.
pub(super) const fn loss_name(cause: LossCause) -> &'static str {
    match cause {
        LossCause::RingFull => "ring buffer full",
        LossCause::MapFull => "kernel table full",
        LossCause::ReadFailed => "kernel structure unreadable",
        LossCause::Undecodable => "record of unknown kind",
        LossCause::KernelSkipped => "hook skipped by the kernel",
        LossCause::LookupDropped => "look-up given up",
    }
}

fn total(counts: &[Count]) -> u64 {
    let counts = counts.iter().map(|count| u64::from(count.count));
    counts.fold(0, u64::saturating_add)
}
