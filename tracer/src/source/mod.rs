//! Where inputs come from; never what they mean.

#[cfg(feature = "live")]
pub mod live;
