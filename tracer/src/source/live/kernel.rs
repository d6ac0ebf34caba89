//! What the running kernel offers, read once; never loads or attaches anything.

use std::fs;

use anyhow::{Context as _, Result};
use aya::{Btf, EbpfLoader, Endianness};

use super::{
    hooks::Hook,
    offsets::{KernelTypes, VMLINUX_BTF},
};
use crate::confine;

/// The running kernel.
pub(super) struct Kernel {
    pub(super) types: KernelTypes,
    /// Enough of its BTF to find the ids of hooks.
    pub(super) btf: Btf,
}

impl Kernel {
    pub(super) fn read() -> Result<Self> {
        let bytes = fs::read(VMLINUX_BTF).with_context(|| format!("cannot read {VMLINUX_BTF}"))?;
        let (types, ids) = KernelTypes::find(&bytes)?;
        // It has some megabytes, and the next reader makes others of its own.
        drop(bytes);
        let btf = Btf::parse(&ids, Endianness::default())?;
        Ok(Self { types, btf })
    }

    /// The name under which this kernel has a hook; its oldest where it has none.
    pub(super) fn name_of(&self, hook: &Hook) -> &'static str {
        let known = hook
            .functions
            .iter()
            .find(|name| self.types.parameters(name).is_some());
        known
            .or(hook.functions.first())
            .copied()
            .unwrap_or_default()
    }
}

/// A loader that has no types of the kernel. aya's reads and parses all of them when it is made, whether
/// they are wanted or not: half as much memory again as a watch ever needs, and a tenth of the time until
/// the hooks are attached. So it is made where it cannot open their file, and then goes without.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = confine::where_no_file_opens(EbpfLoader::new);
    loader.btf(None);
    loader
}
