//! Addresses of HTTP servers as users type them; never speaks to one.

/// The ports of HTTP, in clear text and by TLS.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// The server's name or address; that of IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Host and port as they were given, for the request's head.
    pub authority: String,
    /// What is asked for there: a path, and what may follow a question mark.
    pub path: String,
}

impl HttpUrl {
    /// Whether a text is meant as such an address.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Reads an address. `None` where it is none, or has parts that are of no use in a request: a user's
    /// name, or a place within the page.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://")?),
        };
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || rest.contains('#') {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // The last colon, but not one inside an IPv6 address.
        let colon = authority
            .rfind(':')
            .filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => {
                let port = authority[at + 1..].parse().ok().filter(|port| *port > 0);
                (&authority[..at], port?)
            }
            None if is_tls => (authority, HTTPS_PORT),
            None => (authority, HTTP_PORT),
        };
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || host.contains('@') || (bracketed.is_none() && host.contains(':')) {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_parts() {
        for (text, is_tls, host, port, path) in [
            ("http://127.0.0.1:4318", false, "127.0.0.1", 4318, "/"),
            ("http://otel.example/in/", false, "otel.example", 80, "/in/"),
            (
                "https://a.example/hook?key=1",
                true,
                "a.example",
                443,
                "/hook?key=1",
            ),
            (
                "https://a.example:8443?key=1",
                true,
                "a.example",
                8443,
                "/?key=1",
            ),
            ("http://[::1]:4318/", false, "::1", 4318, "/"),
            ("http://[::1]", false, "::1", 80, "/"),
        ] {
            let url = HttpUrl::parse(text).unwrap();
            let found = (url.is_tls, &*url.host, url.port, &*url.path);
            assert_eq!(found, (is_tls, host, port, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:4318",
            "ftp://a",
            "http://",
            "http://:4318",
            "http://a:b",
            "http://a:0",
            "http://::1:4318",
            "http://a b:1",
            "http://user:word@a:1",
            "http://a:1/#part",
        ] {
            assert_eq!(HttpUrl::parse(wrong), None, "{wrong}");
        }
    }
}
