//! What the live source gives of a made-up host, input by input; never what its programs do (`mixes`
//! does).

mod connection;
mod host;
mod mixes;

use std::collections::VecDeque;

use tracer::model::{HookState, Input, Nanos, Session};

use host::Host;
use mixes::Source;

/// How long the host has been up when the load begins.
const START: Nanos = Nanos::from_secs(1_000);

/// The wall clock at boot: 2026-01-01, 00:00 UTC.
const BOOTED_AT_NS: i64 = 1_767_225_600_000_000_000;

/// How often the engine concludes, as in a live run.
const TICK: Nanos = Nanos::from_millis(500);

/// What the host's programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mix {
    /// Threads of several processes open and close connections again and again.
    Flapping,
    /// Application servers open hundreds of jars at once; one of them runs out of descriptors.
    Burst,
    /// Servers take connections from thousands of peers, and exchange data with them.
    BusyServer,
    /// Scripts start processes that live for a moment.
    Processes,
    /// All of these on one host.
    All,
}

impl Mix {
    /// The mixes that are told one by one.
    pub const EACH: [Self; 5] = [
        Self::Flapping,
        Self::Burst,
        Self::BusyServer,
        Self::Processes,
        Self::All,
    ];

    /// The name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flapping => "flapping",
            Self::Burst => "burst",
            Self::BusyServer => "busy-server",
            Self::Processes => "processes",
            Self::All => "all",
        }
    }
}

/// The inputs of a mix, without end.
pub struct Load {
    host: Host,
    sources: Vec<Box<dyn Source>>,
    now: Nanos,
    ready: VecDeque<Input>,
}

impl Load {
    /// The inputs of `mix` from its begin, the [`Session`] first.
    #[must_use]
    pub fn new(mix: Mix) -> Self {
        let session = Session {
            start: START,
            wall_offset_ns: BOOTED_AT_NS,
            host: "shop-07".to_owned(),
            kernel: "6.1.0-56-cloud-amd64".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hooks: ["tcp_connect", "inet_csk_accept", "fd_install"]
                .map(|hook| HookState {
                    hook: hook.to_owned(),
                    attached: Some("fentry".to_owned()),
                    ..HookState::default()
                })
                .to_vec(),
            ..Session::default()
        };
        let mut host = Host::new();
        let sources = mixes::sources(mix, &mut host, START);
        Self {
            host,
            sources,
            now: START,
            ready: VecDeque::from([Input::Session(Box::new(session))]),
        }
    }

    fn go_on(&mut self) {
        let until = self.now + TICK;
        for source in &mut self.sources {
            source.plan(&mut self.host, until);
        }
        self.host.run(until, &mut self.ready);
        self.now = until;
    }
}

impl Iterator for Load {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        while self.ready.is_empty() {
            self.go_on();
        }
        self.ready.pop_front()
    }
}
