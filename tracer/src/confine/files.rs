//! Where files may still be written, by Landlock; never what may be read.

use std::path::PathBuf;

use landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};

/// A folder, and what may be done in it and below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder as it is now: another one that takes its name later is not it.
    pub folder: PathBuf,
    /// Whether files may be made in it and written; otherwise they may only be removed.
    pub is_written: bool,
    /// Whether files may be removed from it.
    pub is_cleared: bool,
}

impl Place {
    fn access(&self) -> BitFlags<AccessFs> {
        let written = AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate;
        let mut access = BitFlags::EMPTY;
        if self.is_written {
            access |= written;
        }
        if self.is_cleared {
            access |= AccessFs::RemoveFile;
        }
        access
    }
}

/// How much of what was asked for this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// All of it.
    Full,
    /// Files that may not be opened for writing can still be cut short: Landlock before Linux 6.2.
    Partial,
}

/// Lets this thread, and those that it starts, make, change and remove files in these places alone. What
/// is open already stays open. Fails where this kernel has no Landlock.
///
/// Which terminal or socket may be talked to is left as it is.
pub(super) fn write_only_to(places: &[Place]) -> Result<Strictness, String> {
    match restrict(places) {
        Ok(RulesetStatus::FullyEnforced) => Ok(Strictness::Full),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Strictness::Partial),
        Ok(_) => Err("this kernel has no Landlock, or it is switched off".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn restrict(places: &[Place]) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    // Of later versions come rights over devices and sockets, which are no files to be written.
    let writing = AccessFs::from_write(ABI::V4);
    let mut ruleset = Ruleset::default().handle_access(writing)?.create()?;
    for place in places.iter().filter(|place| !place.access().is_empty()) {
        let folder = PathFd::new(&place.folder)?;
        ruleset = ruleset.add_rule(PathBeneath::new(folder, place.access()))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
