//! The words that say which OpenTelemetry collector is told, and of which events; never how.

use clap::Args;

use tracer_common::EventKind;

use super::{
    HttpUrl,
    views::{Kinds, kinds},
};

/// Where the logs of a collector are, below its address (OTLP's specification, "OTLP/HTTP request").
const LOGS: &str = "v1/logs";

/// Which collector is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Tell each verdict to the OpenTelemetry collector at this address by HTTP, such as
    /// `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL", value_parser = logs_of)]
    pub otlp: Option<HttpUrl>,
    /// Tell that collector each event of these kinds as well, such as `tcp_connect,tcp_connect_failed`;
    /// `tcp`, `fd` and `process` stand for all of theirs
    #[arg(
        long, value_name = "KIND", value_delimiter = ',', value_parser = kinds, requires = "otlp"
    )]
    pub otlp_events: Vec<Kinds>,
}

impl OtlpArgs {
    /// The kinds of events that are told.
    #[must_use]
    pub fn events(&self) -> Vec<EventKind> {
        Kinds::all(&self.otlp_events)
    }
}

/// Where the collector at this address takes logs.
fn logs_of(text: &str) -> Result<HttpUrl, String> {
    const EXPECTED: &str = "expected an address such as http://127.0.0.1:4318";
    let url = HttpUrl::parse(text).filter(|url| !url.path.contains('?'));
    let url = url.ok_or(EXPECTED)?;
    let path = format!("{}/{LOGS}", url.path.trim_end_matches('/'));
    Ok(HttpUrl { path, ..url })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_below_the_address() {
        let path = |text: &str| logs_of(text).map(|url| url.path);
        assert_eq!(path("http://127.0.0.1:4318").unwrap(), "/v1/logs");
        assert_eq!(path("https://otel.example/in/").unwrap(), "/in/v1/logs");
        for wrong in ["127.0.0.1:4318", "http://a:1/?q"] {
            assert!(path(wrong).unwrap_err().contains("4318"), "{wrong}");
        }
    }
}
