//! Names the functions of a user stack while its process lives: from the symbol tables of the files that
//! it has mapped, and from the perf map that a runtime wrote for the code that it made; never reads debug
//! information, which would take seconds and hundreds of megabytes for a big program.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use blazesym::{
    normalize::{NormalizeOpts, Normalizer, UserMeta},
    symbolize::{
        Input, Reason, Sym, Symbolized, Symbolizer,
        source::{Process, Source},
    },
};

use super::perf_map;
use crate::model::{FRAMES_MAX, Frame, Nanos, Pid};

/// The longest text of a frame, in characters: a C++ name with its templates can have thousands.
const FRAME_CHARS_MAX: usize = 256;

/// What stands where the end of a text did not fit.
const ELLIPSIS: char = '…';

thread_local! {
    /// The symbols of the process that was asked about last: mostly the next question is about the same,
    /// and what is kept stays bounded. It cannot pass between threads.
    static LAST: RefCell<Option<(Pid, Option<Nanos>, Symbolizer)>> = const { RefCell::new(None) };
}

/// The frames at these addresses of a process, the innermost first; none where it is gone. `start` tells
/// it from others with its pid, `ns_pid` is its number in its own pid namespace.
pub(super) fn frames(pid: Pid, start: Option<Nanos>, ns_pid: u32, addresses: &[u64]) -> Vec<Frame> {
    // All but the first return to behind a call, which may be the begin of the next function.
    let calls: Vec<u64> = addresses
        .iter()
        .take(FRAMES_MAX)
        .enumerate()
        .map(|(depth, address)| address.saturating_sub(u64::from(depth > 0)))
        .collect();
    LAST.with_borrow_mut(|last| {
        let symbolizer = match last {
            Some((known, since, symbolizer)) if (*known, *since) == (pid, start) => symbolizer,
            _ => {
                let fresh = Symbolizer::builder().enable_code_info(false).build();
                &mut last.insert((pid, start, fresh)).2
            }
        };
        named(symbolizer, pid, ns_pid, &calls)
    })
}

fn named(symbolizer: &Symbolizer, pid: Pid, ns_pid: u32, calls: &[u64]) -> Vec<Frame> {
    let source = Source::Process(Process {
        debug_syms: false,
        // See `perf_map`.
        perf_map: false,
        ..Process::new(pid.0.into())
    });
    let symbols = match symbolizer.symbolize(&source, Input::AbsAddr(calls)) {
        Ok(symbols) => symbols,
        Err(error) => {
            log::debug!("the stack of process {pid} is not named: {error:#}");
            return Vec::new();
        }
    };
    let places = places(pid, calls);
    let mut compiled = perf_map::names(pid, ns_pid, calls);
    calls
        .iter()
        .zip(symbols)
        .enumerate()
        .take_while(|(depth, (_, symbol))| {
            // Code without frame pointers keeps anything in their register: there the chain ends.
            *depth == 0 || !matches!(symbol, Symbolized::Unknown(Reason::Unmapped))
        })
        .map(|(depth, (call, symbol))| {
            let (text, is_named) = match &symbol {
                Symbolized::Sym(symbol) => (function(symbol), true),
                Symbolized::Unknown(_) => match places.get(depth).and_then(Option::as_ref) {
                    Some((file, offset)) => (format!("{}+{offset:#x}", file_name(file)), false),
                    // What a runtime made is in no file.
                    None => match compiled.get_mut(depth).and_then(Option::take) {
                        Some(name) => (name, true),
                        None => (format!("{call:#x}"), false),
                    },
                },
            };
            Frame {
                text: shortened(text),
                is_named,
            }
        })
        .collect()
}

/// A function and its file, such as `connect (libc.so.6)`.
fn function(symbol: &Sym<'_>) -> String {
    match symbol.module.as_deref().map(Path::new) {
        Some(file) => format!("{} ({})", symbol.name, file_name(file)),
        None => symbol.name.clone().into_owned(),
    }
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(FRAME_CHARS_MAX) {
        text.truncate(end);
        text.push(ELLIPSIS);
    }
    text
}

/// The file that each address lies in, with the offset in it; `None` for code that is in no file.
fn places(pid: Pid, calls: &[u64]) -> Vec<Option<(PathBuf, u64)>> {
    let normalizer = Normalizer::builder().enable_build_ids(false).build();
    let options = NormalizeOpts {
        map_files: false,
        ..NormalizeOpts::default()
    };
    let Ok(found) = normalizer.normalize_user_addrs_opts(pid.0.into(), calls, &options) else {
        return Vec::new();
    };
    found
        .outputs
        .iter()
        .map(|(offset, place)| match found.meta.get(*place)? {
            UserMeta::Elf(elf) => Some((elf.path.clone(), *offset)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_program_is_named_with_its_file() {
        let here = a_function_of_this_program_is_named_with_its_file as *const () as u64;
        let own = std::process::id();
        let frames = frames(Pid(own), None, own, &[here, here + 1, 1]);
        let exe = std::env::current_exe().unwrap();
        let name = concat!(
            module_path!(),
            "::a_function_of_this_program_is_named_with_its_file"
        );
        let expected = Frame {
            text: format!("{name} ({})", file_name(&exe)),
            is_named: true,
        };
        assert_eq!(frames[0], expected);
        // The call before the return address.
        assert_eq!(frames[1], expected);
        assert_eq!(
            frames.len(),
            2,
            "where nothing is mapped, the chain has ended"
        );
    }

    #[test]
    fn a_process_that_is_gone_has_no_frames() {
        // Beyond the kernel's largest pid (`PID_MAX_LIMIT`, 2^22).
        assert_eq!(frames(Pid(1 << 23), None, 1 << 23, &[4096]), []);
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let long = shortened("é".repeat(300));
        assert_eq!(long.chars().count(), FRAME_CHARS_MAX + 1);
        assert!(long.ends_with("é…"));
        assert_eq!(shortened("connect".to_owned()), "connect");
    }
}
