//! Structure offsets, function signatures and the ids of hooks from the running kernel's BTF; never a
//! guess.

use anyhow::{Context, Result};
use rustc_hash::FxHashMap;
use tracer_common::Offsets;

use super::{
    btf::{Types, Wanted},
    hooks::HOOKS,
};

/// Where the kernel describes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types, as far as they are needed.
pub struct KernelTypes {
    /// All offsets that the kernel half needs.
    pub offsets: Offsets,
    /// How many parameters each function of the table of hooks takes that this kernel has.
    parameters: FxHashMap<&'static str, usize>,
}

impl KernelTypes {
    /// Finds them in the kernel's BTF. Fails where this is no BTF, naming the first member that this
    /// kernel does not have. Gives BTF, too, that has these functions and the tracepoints of hooks by the
    /// kernel's own ids, and nothing else.
    pub fn find(btf: &[u8]) -> Result<(Self, Vec<u8>)> {
        let structures = Offsets::FIELDS
            .iter()
            .map(|&(structure, _)| (Wanted::Structure, structure));
        let functions = HOOKS.iter().flat_map(|hook| hook.functions).copied();
        let wanted = functions
            .clone()
            .flat_map(|name| [(Wanted::Function, name), (Wanted::Tracepoint, name)]);
        let is_unreadable = || format!("{VMLINUX_BTF} is not BTF that can be read");
        let types = Types::find(btf, structures.chain(wanted)).with_context(is_unreadable)?;

        let mut values = [0; Offsets::FIELDS.len()];
        for (value, &(structure, member)) in values.iter_mut().zip(Offsets::FIELDS) {
            *value = types
                .offset(structure, member)
                .with_context(|| format!("this kernel's struct {structure} has no {member}"))?;
        }
        let parameters =
            functions.filter_map(|function| Some((function, types.parameters(function)?)));
        let found = Self {
            offsets: Offsets::from_values(&values),
            parameters: parameters.collect(),
        };
        Ok((found, types.with_ids_only().with_context(is_unreadable)?))
    }

    /// How many parameters a kernel function of the table of hooks takes; `None` where BTF does not
    /// know it.
    pub fn parameters(&self, function: &str) -> Option<usize> {
        self.parameters.get(function).copied()
    }
}
