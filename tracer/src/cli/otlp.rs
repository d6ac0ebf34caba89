//! The words that say which OpenTelemetry collector is told; never what.

use clap::Args;

/// Where the logs of a collector are, below its address (OTLP's specification, "OTLP/HTTP request").
const LOGS: &str = "v1/logs";

/// The port of HTTP.
const HTTP_PORT: u16 = 80;

/// Which collector is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Tell each verdict to the OpenTelemetry collector at this address by HTTP, such as
    /// `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL", value_parser = collector)]
    pub otlp: Option<Collector>,
}

/// A collector that takes OTLP by HTTP, in clear text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its name or address; that of IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Host and port as they were given, for the request's head.
    pub authority: String,
    /// Where it takes logs.
    pub path: String,
}

fn collector(text: &str) -> Result<Collector, String> {
    const EXPECTED: &str = "expected an address such as http://127.0.0.1:4318";
    if text.starts_with("https://") {
        return Err(
            "tracer speaks no TLS: give it a collector on this host or in this pod, which \
                    passes verdicts on"
                .to_owned(),
        );
    }
    let rest = text.strip_prefix("http://").ok_or(EXPECTED)?;
    let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain(rest) || rest.contains(['?', '#', '@']) {
        return Err(EXPECTED.to_owned());
    }
    // The last colon, but not one inside an IPv6 address.
    let colon = authority
        .rfind(':')
        .filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => {
            let port = authority[at + 1..].parse().ok().filter(|port| *port > 0);
            (&authority[..at], port.ok_or(EXPECTED)?)
        }
        None => (authority, HTTP_PORT),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    if host.is_empty() || (bracketed.is_none() && host.contains(':')) {
        return Err(EXPECTED.to_owned());
    }
    let base = base.trim_end_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    Ok(Collector {
        host: host.to_owned(),
        port,
        authority: authority.to_owned(),
        path: format!("/{base}{slash}{LOGS}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String) {
        let found = collector(text).unwrap();
        (found.host, found.port, found.path)
    }

    #[test]
    fn logs_are_below_the_address() {
        let of = |host: &str, port, path: &str| (host.to_owned(), port, path.to_owned());
        assert_eq!(
            parts("http://127.0.0.1:4318"),
            of("127.0.0.1", 4318, "/v1/logs")
        );
        assert_eq!(
            parts("http://otel.example/in/"),
            of("otel.example", 80, "/in/v1/logs")
        );
        assert_eq!(parts("http://[::1]:4318/"), of("::1", 4318, "/v1/logs"));
        assert_eq!(parts("http://[::1]"), of("::1", 80, "/v1/logs"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:4318",
            "http://",
            "http://:4318",
            "http://a:b",
            "http://a:0",
            "http://::1:4318",
            "http://a b:1",
            "http://user:word@a:1",
            "http://a:1/?q",
        ] {
            assert!(collector(wrong).is_err(), "{wrong}");
        }
        assert!(collector("https://a:1").unwrap_err().contains("TLS"));
    }
}
