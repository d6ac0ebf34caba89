//! The way from ring buffer records to reports, for any bytes whatever; never reads this host.
//!
//! A stream of records is short where real ones are long: it can say that what came before comes
//! again, so that a burst of hundreds of opens is a few hundred bytes, which a fuzzer can still
//! change in a sensible way.

#[cfg(test)]
mod corpus;
mod traces;

pub use traces::replay;

use tracer::{
    analysis::{Engine, Report, Thresholds, report::Verdict},
    model::{
        DescriptorFact, Event, EventBody, HostFact, Input, Nanos, Session, SocketRow, TcpAction,
        TimeWaitListing, decode,
    },
    sink::{Look, json, table, timewait},
};

/// Events that one stream may amount to: enough for every detector, and done in milliseconds.
const EVENTS_MAX: usize = 8192;

/// `TIME_WAIT` sockets that the host lists at the end.
const TIME_WAIT_MAX: usize = 64;

/// Descriptors that every process has, of how many it may have.
const OPEN: u64 = 3900;
const SOFT_LIMIT: u64 = 4096;

/// What a stream is made of.
#[derive(Debug)]
enum Step<'a> {
    /// A record: its length as a little-endian word below `0x8000`, then its bytes.
    Record(&'a [u8]),
    /// The word 0: half a second after the latest event the engine concludes.
    Tick,
    /// A word from `0x8000`, its low byte how often; then a word of milliseconds: the events since
    /// the last such step (or the start) again and again, each time that much later.
    Again { times: u8, apart: Nanos },
}

fn steps(mut stream: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let word = |stream: &mut &[u8]| {
        let (word, rest) = stream.split_first_chunk::<2>()?;
        *stream = rest;
        Some(u16::from_le_bytes(*word))
    };
    std::iter::from_fn(move || {
        let step = word(&mut stream)?;
        Some(match step {
            0 => Step::Tick,
            0x8000.. => Step::Again {
                times: step.to_le_bytes()[0],
                apart: Nanos::from_millis(word(&mut stream)?.into()),
            },
            length => {
                let (record, rest) = stream.split_at(usize::from(length).min(stream.len()));
                stream = rest;
                Step::Record(record)
            }
        })
    })
}

/// Decodes a stream, has the engine judge it, and shows what it concludes in every form.
///
/// # Panics
/// Where anything on the way does, where the JSON is none, and where text that is meant for a
/// terminal carries anything that would steer it.
pub fn watch(stream: &[u8]) {
    let mut watch = Watch::default();
    watch.take(stream);
    watch.end();
}

struct Watch {
    engine: Engine,
    session: Session,
    latest: Nanos,
    events: usize,
    /// What [`Step::Again`] repeats.
    block: Vec<Event>,
    time_wait: Vec<SocketRow>,
}

impl Default for Watch {
    fn default() -> Self {
        let session = Session {
            start: Nanos::from_secs(1),
            ..Session::default()
        };
        let mut engine = Engine::new(Thresholds::default());
        engine.apply(&Input::Session(Box::new(session.clone())));
        Self {
            engine,
            session,
            latest: Nanos::default(),
            events: 0,
            block: Vec::new(),
            time_wait: Vec::new(),
        }
    }
}

impl Watch {
    fn take(&mut self, stream: &[u8]) {
        for step in steps(stream) {
            match step {
                Step::Record(record) => match decode(record) {
                    Ok(event) => self.event(event),
                    Err(error) => drop(error.to_string()),
                },
                Step::Tick => self.tick(),
                Step::Again { times, apart } => self.again(times, apart),
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.apply(event.clone());
        self.block.push(event);
    }

    fn apply(&mut self, event: Event) {
        if self.events == EVENTS_MAX {
            return;
        }
        self.events += 1;
        self.latest = self.latest.max(event.ts);
        if let EventBody::Tcp(tcp) = &event.body
            && tcp.action == TcpAction::TimeWait
            && self.time_wait.len() < TIME_WAIT_MAX
        {
            self.time_wait.push(SocketRow {
                cookie: tcp.cookie,
                local: tcp.local,
                remote: tcp.remote,
                state: tcp.new_state,
            });
        }
        self.engine.apply(&Input::Event(event));
    }

    fn again(&mut self, times: u8, apart: Nanos) {
        let mut block = std::mem::take(&mut self.block);
        for _ in 0..times {
            for event in &mut block {
                later(event, apart);
                self.apply(event.clone());
            }
        }
    }

    fn tick(&mut self) {
        self.latest = self.latest + Nanos::from_millis(500);
        for pid in self.engine.take_lookups() {
            let fact = HostFact::Descriptors(DescriptorFact {
                pid,
                start: None,
                open: OPEN,
                net: None,
                soft_limit: Some(SOFT_LIMIT),
                hard_limit: None,
            });
            self.engine.apply(&Input::Host(self.latest, fact));
        }
        self.engine.apply(&Input::Tick(self.latest));
        let verdicts = self.engine.take_verdict_updates();
        self.show_verdicts(&verdicts);
    }

    fn end(mut self) {
        self.tick();
        let netns = tracer::model::Netns(4_026_531_840);
        let listing = TimeWaitListing::new(netns, std::mem::take(&mut self.time_wait));
        let fact = HostFact::TimeWait(listing);
        self.engine.apply(&Input::Host(self.latest, fact));
        self.engine.apply(&Input::Tick(self.latest));
        let verdicts = self.engine.take_last_verdict_updates();
        self.show_verdicts(&verdicts);
        show(&self.engine.report());
    }

    fn show_verdicts(&self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            assert_plain(&table::verdict_line(Look::PLAIN, &self.session, verdict));
            assert_json(&json::verdict(&self.session, verdict));
        }
    }
}

/// The same thing so much later, with the totals that the kernel would tell then.
fn later(event: &mut Event, apart: Nanos) {
    event.ts = event.ts + apart;
    match &mut event.body {
        EventBody::Tcp(tcp) => tcp.start = tcp.start.map(|start| start + apart),
        EventBody::Fd(fd) => {
            fd.opens = fd.opens.saturating_add(1);
            fd.fds_net = fd.fds_net.saturating_add(1);
            fd.files_net = fd.files_net.saturating_add(1);
        }
        EventBody::Process(_) | EventBody::Exit { .. } => {}
    }
}

fn show(report: &Report) {
    assert_json(&json::start(&report.session));
    assert_json(&json::report_lines(report));
    assert_plain(&timewait::render(Look::PLAIN, report));
    assert_plain(&table::render(Look::PLAIN, report));
    // Narrower than any word, as wide as a terminal is, and in colour.
    for width in [1, 80] {
        let look = Look {
            color: true,
            width: Some(width),
        };
        drop(table::render(look, report));
        drop(timewait::render(look, report));
    }
}

/// One object a line, each with its type.
fn assert_json(lines: &str) {
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(value["type"].is_string(), "{line}");
    }
}

/// A program chooses its own name, arguments and paths: none of them may steer a terminal.
fn assert_plain(text: &str) {
    let steers = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(steers), "{text:?}");
}
