//! What the engine makes of literal timelines, one file a subject; never of the kernel's doing.

mod bursts;
mod churn;
mod close_wait;
mod closers;
mod compare;
mod exhaustion;
mod failing;
mod flapping;
mod identity;
mod leaks;
mod life;
mod lives;
mod near_limit;
mod ports;
mod properties;
mod relooks;
mod stacks;
mod tables;
mod time_wait;
