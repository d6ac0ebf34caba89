//! Prints the events of a trace, or its connections, as they are read; never a conclusion of its own.

use std::io::{self, BufWriter, Write as _};

use anyhow::Result;

use super::traces::Traces;
use crate::{
    analysis::lives::Lives,
    cli::{EventsArgs, Format, exit},
    model::{Input, Session},
    sink::{
        Look,
        events::{Lines, json_event, json_life},
    },
};

/// What is gathered before it is written: a line each would cost more than to read it.
const BUFFER_BYTES: usize = 64 << 10;

/// Prints events; gives the code to end with.
pub(super) fn events(args: &EventsArgs, look: Look) -> Result<u8> {
    let mut traces = Traces::open(&args.trace)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let kinds = args.wanted_kinds();
    let is_table = args.format == Format::Table;
    let mut lines = Lines::new(look);
    if is_table {
        let titles = if args.lives {
            lines.life_titles()
        } else {
            lines.event_titles(&kinds)
        };
        out.write_all(titles.as_bytes())?;
    }
    let mut session = Session::default();
    let mut connections = Lives::default();
    for input in traces.by_ref() {
        connections.apply(&input);
        match input {
            Input::Session(told) => session = *told,
            Input::Event(event) if !args.lives => {
                if !kinds.is_empty() && !kinds.contains(&event.body.kind()) {
                    continue;
                }
                let comm = connections.name(event.pid);
                let line = if is_table {
                    lines.event(&session, &event, comm)
                } else {
                    json_event(&session, &event, comm)
                };
                out.write_all(line.as_bytes())?;
            }
            _ => {}
        }
        print_lives(args, &session, &mut connections, &mut lines, &mut out)?;
    }
    connections.finish();
    print_lives(args, &session, &mut connections, &mut lines, &mut out)?;
    out.flush()?;
    Ok(traces.end(exit::CLEAN))
}

/// Prints the connections that are over, where they were asked for; forgets them otherwise.
fn print_lives(
    args: &EventsArgs,
    session: &Session,
    connections: &mut Lives,
    lines: &mut Lines,
    out: &mut impl io::Write,
) -> Result<()> {
    while let Some(life) = connections.take() {
        if !args.lives {
            continue;
        }
        let line = match args.format {
            Format::Table => lines.life(session, &life),
            Format::Json => json_life(session, &life),
        };
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}
