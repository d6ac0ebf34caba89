//! Tells on stderr what is being done, why and how long it took; it never writes to stdout, which
//! belongs to the commands that run in a virtual machine.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// Something slow that is under way: a spinner on a terminal, two plain lines in a pipe.
pub struct Progress {
    what: String,
    spinner: Option<ProgressBar>,
    began: Instant,
}

impl Progress {
    /// Announces `what` is done and `why` it is needed.
    pub fn start(what: impl Into<String>, why: &str) -> Self {
        let what = what.into();
        let message = format!("{what}: {why}");
        let spinner = stderr().is_terminal().then(|| spinner(message.clone()));
        if spinner.is_none() {
            eprintln!("      ... {message}");
        }
        Self {
            what,
            spinner,
            began: Instant::now(),
        }
    }

    /// Says that it is done, and how long it took.
    pub fn done(self, outcome: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        eprintln!("       ok {}: {outcome} ({seconds:.1} s)", self.what);
    }
}

impl Drop for Progress {
    /// Clears the spinner also where an error ends the work early.
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Says that something needed nothing to be done.
pub fn found(what: &str, where_: &str) {
    eprintln!("       ok {what}: {where_}");
}

fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
