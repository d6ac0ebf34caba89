//! The reader of the floor: attaches its programs, and empties the ring whenever it is woken or some
//! time has passed; never looks at a record.

use std::{fs, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::RingBuf,
    programs::{FEntry, FExit},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::watcher::Subject;

/// How often the ring is looked at without being woken, in milliseconds.
const POLL_MS: u16 = 100;

/// Reads until it is killed.
pub fn read(object: &Path, subject: Subject, port: u16) -> Result<()> {
    let mut floor = EbpfLoader::new()
        .override_global("PORT", &port, true)
        .load(&fs::read(object)?)?;
    let btf = Btf::from_sys_fs()?;
    match subject {
        Subject::Connections => {
            attach_entry(&mut floor, "floor_connect", "tcp_connect", &btf)?;
            attach_entry(&mut floor, "floor_close", "tcp_close", &btf)?;
            let accept = floor.program_mut("floor_accept").context("no accept")?;
            let accept: &mut FExit = accept.try_into()?;
            accept.load("inet_csk_accept", &btf)?;
            accept.attach()?;
        }
        Subject::Descriptors => {
            attach_entry(&mut floor, "floor_open", "do_filp_open", &btf)?;
            attach_entry(&mut floor, "floor_filp_close", "filp_close", &btf)?;
        }
    }
    let ring = floor.map_mut("EVENTS").context("no ring")?;
    let mut ring = RingBuf::try_from(ring)?;
    let mut records = 0_u64;
    loop {
        let descriptor = ring.as_fd();
        poll(
            &mut [PollFd::new(descriptor, PollFlags::POLLIN)],
            PollTimeout::from(POLL_MS),
        )?;
        while ring.next().is_some() {
            records += 1;
        }
        std::hint::black_box(records);
    }
}

fn attach_entry(floor: &mut Ebpf, program: &str, function: &str, btf: &Btf) -> Result<()> {
    let program = floor.program_mut(program).context("no such program")?;
    let program: &mut FEntry = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    Ok(())
}
