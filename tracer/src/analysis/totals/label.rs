//! What a group of processes is counted under; never the pid or the command line of one unless asked for.

use std::sync::Arc;

use crate::model::Pid;

use super::super::{limits, place::Place, report::Identity};

/// In which detail groups are told apart, beyond program and place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// By process.
    pub pid: bool,
    /// By command line.
    pub cmdline: bool,
}

/// A program in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupLabel {
    /// The process's name.
    pub comm: String,
    /// Its container.
    pub container: Option<Arc<str>>,
    /// Its pod: the host name that its processes see, or the pod's uid.
    pub pod: Option<Arc<str>>,
    /// Its systemd unit.
    pub unit: Option<Arc<str>>,
    /// The process, where asked for.
    pub pid: Option<Pid>,
    /// The begin of its command line, where asked for.
    pub cmdline: Option<String>,
}

impl GroupLabel {
    pub(in crate::analysis) fn new(
        comm: &str,
        place: Option<&Place>,
        hostname: Option<&Arc<str>>,
        pid: Option<Pid>,
        cmdline: Option<&str>,
    ) -> Self {
        let pod_uid = place.and_then(|place| place.pod_uid.as_ref());
        Self {
            comm: comm.to_owned(),
            container: place.and_then(|place| place.container.clone()),
            pod: pod_uid.map(|uid| Arc::clone(hostname.unwrap_or(uid))),
            unit: place.and_then(|place| place.unit.clone()),
            pid,
            cmdline: cmdline.map(|text| text.chars().take(limits::CMDLINE_LABEL_CHARS).collect()),
        }
    }

    /// What the subject of a verdict is counted under.
    pub(super) fn of(who: &Identity, detail: Detail) -> Self {
        let place = Place {
            container: who.container.clone(),
            runtime: None,
            pod_uid: who.pod_uid.clone(),
            unit: who.unit.clone(),
        };
        Self::new(
            &who.comm,
            Some(&place),
            who.hostname.as_ref(),
            who.pid.filter(|_| detail.pid),
            who.cmdline.as_deref().filter(|_| detail.cmdline),
        )
    }
}
