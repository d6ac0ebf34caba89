//! The capabilities of this thread: those that are kept, and whether it does without one; never those of
//! another thread.

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Keeps these and no others, and lets none come back.
pub(super) fn keep(kept: CapabilitySet) -> Result<(), String> {
    let bounded = empty_bounding_set();
    let held = capabilities(None).map_err(|error| error.to_string())?;
    let kept = held.permitted & kept;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
    .map_err(|error| error.to_string())?;
    bounded
}

/// Makes sure that no program that this thread may ever start gets one.
fn empty_bounding_set() -> Result<(), String> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            // Beyond the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Ok(false) => {}
            Ok(true) | Err(_) => remove_capability_from_bounding_set(capability)
                .map_err(|error| format!("the bounding set stays: {error}"))?,
        }
    }
    Ok(())
}

/// Whether something works with these capabilities alone: this thread has the others back afterwards.
///
/// True where it cannot be tried: then nothing that might be missed is kept for it.
pub(super) fn suffices(enough: CapabilitySet, works: impl FnOnce() -> bool) -> bool {
    let Ok(held) = capabilities(None) else {
        return true;
    };
    let less = CapabilitySets {
        effective: held.effective & enough,
        ..held
    };
    if set_capabilities(None, less).is_err() {
        return true;
    }
    let does_work = works();
    if let Err(error) = set_capabilities(None, held) {
        log::warn!("capabilities that were put aside do not come back: {error}");
    }
    does_work
}

/// The first of these that this thread has and that makes something work; none where it works without.
pub fn is_enough(candidates: &[CapabilitySet], mut works: impl FnMut() -> bool) -> CapabilitySet {
    if suffices(CapabilitySet::empty(), &mut works) {
        return CapabilitySet::empty();
    }
    let mut held = candidates.iter().copied();
    let found = held.find(|candidate| suffices(*candidate, &mut works));
    found.unwrap_or(CapabilitySet::empty())
}
