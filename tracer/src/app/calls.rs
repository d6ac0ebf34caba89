//! Who calls for a dump of the flight recorder by hand; never what becomes of it.

use std::future::pending;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{control::Control, flight::Asker};
use crate::cli::FlightArgs;

/// A call for a dump.
pub(super) enum Call {
    /// SIGUSR1.
    Signal,
    /// Someone who waits for it.
    Asked(Asker),
}

/// The calls for dumps; none where there is no flight recorder.
pub(super) struct Calls(Option<(Signal, Control)>);

impl Calls {
    /// Listens, if there is a flight recorder.
    pub(super) async fn listen(flight: Option<&FlightArgs>) -> Result<Self> {
        let Some(flight) = flight else {
            return Ok(Self(None));
        };
        let control = Control::listen(&flight.control).await?;
        let signal = signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
        Ok(Self(Some((signal, control))))
    }

    /// The next call.
    pub(super) async fn next(&mut self) -> Call {
        let Some((signal, control)) = &mut self.0 else {
            return pending().await;
        };
        tokio::select! {
            _ = signal.recv() => Call::Signal,
            Some(asker) = control.asked() => Call::Asked(asker),
            else => pending().await,
        }
    }
}
