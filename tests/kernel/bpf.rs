//! The kernel's BPF maps and programs by its own system call, as another program would reach tracer's;
//! never by the library that tracer uses.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Commands of bpf(2) (`enum bpf_cmd`, `include/uapi/linux/bpf.h`).
const MAP_GET_NEXT_KEY: i32 = 4;
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;
const PROG_GET_NEXT_ID: i32 = 11;
const MAP_GET_NEXT_ID: i32 = 12;
const MAP_GET_FD_BY_ID: i32 = 14;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_GET_NEXT_ID: i32 = 31;

/// `union bpf_attr` as words: longer than what is used of it, the rest zero, as the kernel wants.
type Attributes = [u32; 32];

fn bpf(command: i32, attributes: &mut Attributes) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes no more than the length that it is told; what the attributes
    // point to, the callers below keep.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// As [`bpf`], where what it gives is a descriptor.
fn bpf_fd(command: i32, attributes: &mut Attributes) -> io::Result<OwnedFd> {
    let fd: RawFd = bpf(command, attributes)?;
    // SAFETY: a descriptor that a call has just returned belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a pointer into two words.
fn put<T>(attributes: &mut [u32], pointer: *const T) {
    let address = pointer.addr().to_ne_bytes();
    let (halves, _) = address.as_chunks();
    for (word, half) in attributes.iter_mut().zip(halves) {
        *word = u32::from_ne_bytes(*half);
    }
}

fn descriptor(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// How many programs, maps and links the kernel holds.
pub fn held() -> Result<[usize; 3]> {
    let [programs, maps, links] =
        [PROG_GET_NEXT_ID, MAP_GET_NEXT_ID, LINK_GET_NEXT_ID].map(count_ids);
    Ok([programs?, maps?, links?])
}

fn count_ids(command: i32) -> Result<usize> {
    let mut ids: Attributes = [0; 32];
    let mut count = 0;
    loop {
        match bpf(command, &mut ids) {
            Ok(_) => count += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
        let [id, next, ..] = &mut ids;
        *id = *next;
    }
}

/// The map of this name, of those that the kernel holds the newest.
pub fn map(name: &CStr) -> Result<OwnedFd> {
    let mut found = None;
    let mut ids: Attributes = [0; 32];
    while bpf(MAP_GET_NEXT_ID, &mut ids).is_ok() {
        let [id, next, ..] = &mut ids;
        *id = *next;
        let mut by_id: Attributes = [0; 32];
        by_id[0] = ids[0];
        // It may have gone meanwhile.
        if let Ok(map) = bpf_fd(MAP_GET_FD_BY_ID, &mut by_id)
            && name_of(&map)? == name.to_bytes()
        {
            found = Some(map);
        }
    }
    found.with_context(|| format!("there is no map {name:?}"))
}

fn name_of(map: &OwnedFd) -> Result<Vec<u8>> {
    /// Where `struct bpf_map_info` has it, and how long it is.
    const NAME: std::ops::Range<usize> = 24..40;
    let mut info = [0_u8; 40];
    let mut asks: Attributes = [0; 32];
    (asks[0], asks[1]) = (descriptor(map), u32::try_from(info.len())?);
    put(&mut asks[2..4], info.as_mut_ptr());
    bpf(OBJ_GET_INFO_BY_FD, &mut asks)?;
    let name = info[NAME].split(|byte| *byte == 0).next();
    Ok(name.unwrap_or_default().to_vec())
}

/// How many entries a hash map with keys of four bytes has.
pub fn entries(map: &OwnedFd) -> Result<usize> {
    let (mut key, mut next) = (None, 0_u32);
    let mut count = 0;
    loop {
        let mut asks: Attributes = [0; 32];
        asks[0] = descriptor(map);
        if let Some(key) = &key {
            put(&mut asks[2..4], key);
        }
        put(&mut asks[4..6], &raw mut next);
        match bpf(MAP_GET_NEXT_KEY, &mut asks) {
            Ok(_) => count += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
        key = Some(next);
    }
}

/// One instruction (`struct bpf_insn`).
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}

/// Writes a record of so many bytes, at most 64, into a ring: zeros, but for one byte.
pub fn write_record(ring: &OwnedFd, bytes: u8, at: u8, byte: u8) -> Result<()> {
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`: of those that can be run without a hook the plainest.
    const RAW_TRACEPOINT: u32 = 17;
    /// `BPF_FUNC_ringbuf_output`.
    const RINGBUF_OUTPUT: i32 = 130;
    const ROOM: i16 = 64;
    ensure!(i16::from(bytes.max(at)) <= ROOM, "no room for that");
    let mut program: Vec<u64> = (0..ROOM / 8)
        // *(u64 *)(r10 - ROOM + 8 * word) = 0
        .map(|word| instruction(0x7a, 10, 0, word * 8 - ROOM, 0))
        .collect();
    program.extend([
        // *(u8 *)(r10 - ROOM + at) = byte
        instruction(0x72, 10, 0, i16::from(at) - ROOM, byte.into()),
        // r1 = the ring
        instruction(0x18, 1, 1, 0, ring.as_raw_fd()),
        0,
        // r2 = r10 - ROOM
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, (-ROOM).into()),
        // r3 = bytes, r4 = 0
        instruction(0xb7, 3, 0, 0, bytes.into()),
        instruction(0xb7, 4, 0, 0, 0),
        instruction(0x85, 0, 0, 0, RINGBUF_OUTPUT),
        instruction(0x95, 0, 0, 0, 0),
    ]);
    let mut asks: Attributes = [0; 32];
    (asks[0], asks[1]) = (RAW_TRACEPOINT, u32::try_from(program.len())?);
    put(&mut asks[2..4], program.as_ptr());
    put(&mut asks[4..6], c"GPL".as_ptr());
    // Kernels before 5.11 charge programs to this limit, and maps: tracer, which the tests start with the
    // limit that there was, has hardly left anything of it.
    let limit = getrlimit(Resource::Memlock);
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Memlock, unlimited)?;
    let program = bpf_fd(PROG_LOAD, &mut asks);
    setrlimit(Resource::Memlock, limit)?;
    let program = program.context("the kernel refuses the program")?;
    let mut run: Attributes = [0; 32];
    run[0] = descriptor(&program);
    bpf(PROG_TEST_RUN, &mut run).context("the kernel does not run the program")?;
    ensure!(run[1] == 0, "no room in the ring: {}", run[1]);
    Ok(())
}
