//! Loads that do not exist: what the live source would give of hosts under load, made up from a
//! seed; never reads this host.
//!
//! The same mix always gives the same inputs, as many as are asked for, and holds no more of them
//! than half a second has.

mod load;

pub use load::{Load, Mix};
