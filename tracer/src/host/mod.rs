//! Looks up what no event tells: /proc, `sock_diag`, cgroups, clocks; never in the loop that drains
//! the ring, and never what it concludes from them.

pub mod cgroup;
pub mod lookup;
pub mod netns;
pub mod own;
pub mod owners;
mod perf_map;
pub mod ports;
pub mod procfs;
pub mod session;
pub mod sock_diag;
mod symbols;
pub mod world;
