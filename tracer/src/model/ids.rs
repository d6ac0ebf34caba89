//! Newtypes for numbers that must not be mixed up; never more than the number and how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A process (thread group) in the host's pid namespace; 0 is nobody.
    Pid(u32)
);
number!(
    /// A thread in the host's pid namespace; 0 is nobody.
    Tid(u32)
);
number!(
    /// A network namespace's inode number, as in `/proc/PID/ns/net`.
    Netns(u32)
);
number!(
    /// A socket's identity while it lives; used again after it was freed.
    SockId(u64)
);
number!(
    /// The kernel's socket cookie, unique since boot; 0 where none is known.
    Cookie(u64)
);
number!(
    /// The kernel's number of a user stack, the same as long as a process that has it lives.
    StackId(u32)
);
number!(
    /// Nanoseconds of `CLOCK_BOOTTIME`, or a span of them.
    Nanos(u64)
);

impl Pid {
    /// The pid, unless it is nobody's.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
}

impl Cookie {
    /// The cookie, unless none is known.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
}

impl Nanos {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// The time from `earlier` to this, 0 where `earlier` is later (records of different CPUs may
    /// arrive slightly out of order).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This span in milliseconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a span that loses precision as f64 is 104 days long"
    )]
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// This span in seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.as_millis_f64() / 1e3
    }
}

impl std::ops::Add for Nanos {
    type Output = Self;

    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

/// The kernel's name of a thread: at most 15 bytes of text that a program may choose freely, so never
/// to be printed raw on a terminal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comm([u8; tracer_common::COMM_BYTES]);

impl Comm {
    /// A name from a kernel buffer; what follows the first NUL is dropped, and a byte that is not
    /// part of UTF-8 (the kernel may cut a name within a letter) is told as `?`.
    #[must_use]
    pub fn from_kernel(mut bytes: [u8; tracer_common::COMM_BYTES]) -> Self {
        // The kernel always ends it.
        bytes[tracer_common::COMM_BYTES - 1] = 0;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes[end..].fill(0);
        }
        if bytes.is_ascii() {
            return Self(bytes);
        }
        let mut checked = 0;
        while let Err(error) = std::str::from_utf8(&bytes[checked..]) {
            checked += error.valid_up_to();
            bytes[checked] = b'?';
        }
        Self(bytes)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0);
        // Checked when it was made.
        std::str::from_utf8(&self.0[..end.unwrap_or(self.0.len())]).unwrap_or_default()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

impl From<&str> for Comm {
    fn from(name: &str) -> Self {
        let mut bytes = [0; tracer_common::COMM_BYTES];
        let kept = name.len().min(bytes.len() - 1);
        bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
        Self::from_kernel(bytes)
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
