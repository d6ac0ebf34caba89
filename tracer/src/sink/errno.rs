//! The names of error numbers and what each means for a connection; never asks the C library, whose
//! words depend on the user's language.

use std::borrow::Cow;

use nix::errno::Errno;

/// The name of connects that the program itself gave up before an answer came; in small letters, as
/// it is no error of the kernel's.
const GIVEN_UP: &str = "given_up";

/// An error's name, such as `ECONNREFUSED`; `errno_N` where the number has none.
pub(super) fn name(errno: i32) -> Cow<'static, str> {
    match Errno::from_raw(errno) {
        _ if errno == 0 => Cow::Borrowed(GIVEN_UP),
        Errno::UnknownErrno => Cow::Owned(format!("errno_{errno}")),
        known => Cow::Owned(format!("{known:?}")),
    }
}

/// What an error says about a connect that failed with it, where that can be said in a few words.
pub(super) fn meaning(errno: i32) -> Option<&'static str> {
    Some(match Errno::from_raw(errno) {
        _ if errno == 0 => "closed by the program before an answer came",
        Errno::ECONNREFUSED => "refused: nothing listens there",
        Errno::ETIMEDOUT => "no answer",
        Errno::EHOSTUNREACH => "host unreachable",
        Errno::ENETUNREACH => "no route",
        Errno::ECONNRESET => "reset by the peer",
        Errno::EADDRNOTAVAIL => "no free local port or address",
        Errno::EMFILE => "process out of descriptors",
        Errno::ENFILE => "host out of descriptors",
        Errno::EPERM | Errno::EACCES => "forbidden, by a firewall rule for instance",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_as_in_the_manual() {
        assert_eq!(name(111), "ECONNREFUSED");
        assert_eq!(name(110), "ETIMEDOUT");
        assert_eq!(name(24), "EMFILE");
        assert_eq!(name(0), "given_up");
        assert_eq!(name(4095), "errno_4095");
        assert_eq!(name(-1), "errno_-1");
    }

    #[test]
    fn what_a_connect_can_meet_is_explained() {
        assert_eq!(meaning(111), Some("refused: nothing listens there"));
        assert_eq!(meaning(99), Some("no free local port or address"));
        assert_eq!(meaning(4095), None);
    }
}
