//! Reads the settings again at SIGHUP, and says in the log what came of it; never ends a watch because
//! they are wrong.

use std::{future::pending, path::Path};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Changes, ServeArgs, Settings};

/// The settings that are read again; none where the watch has none.
pub(super) struct Reloads(Option<(Signal, Settings)>);

impl Reloads {
    /// Listens for SIGHUP, if there are settings.
    pub(super) fn listen(settings: Option<Settings>) -> Result<Self> {
        let Some(settings) = settings else {
            return Ok(Self(None));
        };
        let signal = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        Ok(Self(Some((signal, settings))))
    }

    /// The file that they are read from, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        let (_, settings) = self.0.as_ref()?;
        settings.file()
    }

    /// The next settings that differ in what can be taken over.
    pub(super) async fn next(&mut self) -> Box<ServeArgs> {
        let Some((signal, settings)) = &mut self.0 else {
            return pending().await;
        };
        loop {
            if signal.recv().await.is_none() {
                return pending().await;
            }
            match settings.read_again(|name| std::env::var_os(name)) {
                Err(error) => log::error!(
                    "SIGHUP: the settings stay as they were: {}",
                    error.trim_start_matches("error: ").trim_end()
                ),
                Ok((args, changes)) => {
                    log::warn!("SIGHUP: {}", said(&changes));
                    if !changes.taken.is_empty() {
                        return args;
                    }
                }
            }
        }
    }
}

fn said(changes: &Changes) -> String {
    let mut parts = Vec::new();
    if !changes.taken.is_empty() {
        parts.push(format!("taken over: {}", changes.taken.join(", ")));
    }
    if !changes.left.is_empty() {
        parts.push(format!(
            "takes a restart, and is as before: {}",
            changes.left.join(", ")
        ));
    }
    if parts.is_empty() {
        return "no setting has changed".to_owned();
    }
    parts.join("; ")
}
