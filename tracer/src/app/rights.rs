//! Which rights a watch still needs once its hooks are attached, found by trying where they differ from
//! machine to machine; never how the others are given up.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    thread::CapabilitySet,
};

use super::{action::Action, pump::Watch, spill};
use crate::{
    confine::{Duty, Place, is_enough},
    source::live::{self, Live},
};

/// What reading the kernel half's maps takes: nothing since Linux 5.19, and before that only where
/// `kernel.unprivileged_bpf_disabled` is set, as distributions do.
pub(super) fn to_read_maps(live: &Live) -> CapabilitySet {
    let candidates = [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN];
    is_enough(&candidates, || live.losses().is_ok())
}

/// What the look-ups do.
pub(super) fn of_lookups(options: &live::Options, to_read_maps: CapabilitySet) -> Duty {
    // Executables, descriptors and namespaces of others; their folder in /proc is their user's alone.
    let mut capabilities = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if options.selection.tcp || options.stacks {
        // Entering network namespaces to list their sockets; and /proc/PID/map_files for symbols.
        capabilities |= CapabilitySet::SYS_ADMIN;
    }
    Duty::Looks(capabilities | to_read_maps)
}

/// What the thread that brings all together does, and those that it starts; nothing in particular where it
/// starts the user's commands, which have its rights. `settings` is the file that is read again.
pub(super) fn of_collector(
    watch: &Watch,
    settings: Option<&Path>,
    to_read_maps: CapabilitySet,
) -> Option<Duty> {
    let action = watch.action.as_ref();
    if action.is_some_and(Action::runs_commands) {
        return None;
    }
    let places = places(watch);
    let mut capabilities = to_read_maps;
    // As root without this right one is a user like others, to whom a home may be closed.
    let is_open = |place: &Place| {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        !is_denied(accessat(CWD, &place.folder, access, AtFlags::EACCESS).map_err(io::Error::from))
    };
    capabilities |= is_enough(&[CapabilitySet::DAC_OVERRIDE], || {
        places.iter().all(is_open)
    });
    if let Some(file) = settings {
        let is_read = || !is_denied(File::open(file));
        capabilities |= is_enough(&[CapabilitySet::DAC_READ_SEARCH], is_read);
    }
    let makes_files = places.iter().any(|place| place.is_written);
    if makes_files && std::env::var_os("SUDO_UID").is_some() {
        // A trace is given to who called sudo.
        capabilities |= CapabilitySet::CHOWN;
    }
    Some(Duty::Writes(places, capabilities))
}

/// Where files are made or removed later on.
fn places(watch: &Watch) -> Vec<Place> {
    let place = |folder: &Path, is_written, is_cleared| Place {
        folder: folder.to_owned(),
        is_written,
        is_cleared,
    };
    let mut places = Vec::new();
    if let Some(flight) = &watch.flight {
        places.push(place(flight.dump_dir(), true, flight.dump_keep.is_some()));
        if flight.spill {
            places.push(place(&spill::folder(flight.dump_dir()), true, true));
        }
        places.push(place(folder_of(&flight.control), false, true));
    }
    // A recording in one file is open by now.
    if let Some(recording) = &watch.recording
        && recording.keep.rotate.is_some()
    {
        let removes = recording.keep.keep.is_some();
        places.push(place(folder_of(&recording.path), true, removes));
    }
    if let Some(file) = &watch.ready_file {
        places.push(place(folder_of(file), false, true));
    }
    places
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().unwrap_or(file);
    if folder.as_os_str().is_empty() {
        return Path::new(".");
    }
    folder
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_folder_is_in_the_current_one() {
        assert_eq!(folder_of(Path::new("day.arrows")), Path::new("."));
        assert_eq!(folder_of(Path::new("/run/tracer.sock")), Path::new("/run"));
    }
}
