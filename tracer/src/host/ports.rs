//! The ports that the kernel takes for connects that ask for none; never which of them are in use.

use std::{fs, io, path::Path};

use crate::model::PortRange;

/// The range of this network namespace, from `net.ipv4.ip_local_port_range` (it holds for IPv6 as
/// well). `proc_root` is `/proc`, or a tree that stands for it.
///
/// Fails where the file cannot be read or does not hold two ports.
pub fn ephemeral_ports(proc_root: &Path) -> io::Result<PortRange> {
    let text = fs::read_to_string(proc_root.join("sys/net/ipv4/ip_local_port_range"))?;
    parse(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("ip_local_port_range holds no two ports: {text:?}"),
        )
    })
}

/// Two ports with white space between.
fn parse(text: &str) -> Option<PortRange> {
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    let low = ports.next()?.ok()?;
    let high = ports.next()?.ok()?;
    (low <= high).then_some(PortRange { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_default() {
        assert_eq!(
            parse("32768\t60999\n"),
            Some(PortRange {
                low: 32768,
                high: 60999
            })
        );
    }

    #[test]
    fn no_range() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("32768\n"), None);
        assert_eq!(parse("60999 32768"), None);
        assert_eq!(parse("1 65536"), None);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = ephemeral_ports(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
