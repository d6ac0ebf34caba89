//! The words that say where metrics are served, and in which detail; never what they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

/// Where metrics and health are served, or that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAt {
    /// At this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl MetricsAt {
    /// The address, if there is one.
    #[must_use]
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
}

/// In which detail processes are told apart.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub struct DetailArgs {
    /// Tell processes apart by their pids as well: each new process is a new series
    #[arg(long)]
    pub metrics_pid: bool,
    /// Tell processes apart by their command lines as well, which may hold secrets
    #[arg(long)]
    pub metrics_cmdline: bool,
}

/// Reads an address with a port, a port alone (of this machine's own loopback address), or `off`.
pub(super) fn metrics_at(text: &str) -> Result<MetricsAt, String> {
    if text == "off" {
        return Ok(MetricsAt::Off);
    }
    let port = text.trim_start_matches(':').parse().ok();
    let loopback = port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    loopback
        .or_else(|| text.parse().ok())
        .map(MetricsAt::At)
        .ok_or_else(|| {
            "expected a port, such as 9740, an address, such as 0.0.0.0:9740, or off".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_the_loopback_address() {
        let at = |text: &str| metrics_at(text).unwrap().address().map(|at| at.to_string());
        assert_eq!(at("9740").as_deref(), Some("127.0.0.1:9740"));
        assert_eq!(at(":9740").as_deref(), Some("127.0.0.1:9740"));
        assert_eq!(at("0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(at("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(at("off"), None);
        for wrong in ["", "localhost", "10.0.0.1", "70000"] {
            assert!(
                metrics_at(wrong).unwrap_err().contains("such as 9740"),
                "{wrong}"
            );
        }
    }
}
