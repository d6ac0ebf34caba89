//! What the engine makes of literal timelines, one file a subject; never of the kernel's doing.

mod bursts;
mod churn;
mod compare;
mod failing;
mod flapping;
mod identity;
mod life;
mod lives;
mod properties;
mod time_wait;
