//! Structure offsets and function signatures from the running kernel's BTF; never a guess.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tracer_common::Offsets;

use super::{
    btf::{Types, Wanted},
    hooks::HOOKS,
};

/// Where the kernel describes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types, as far as they are needed.
pub struct KernelTypes(Types);

impl KernelTypes {
    /// Reads the kernel's BTF.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let structures = Offsets::FIELDS
            .iter()
            .map(|&(structure, _)| (Wanted::Structure, structure));
        let functions = HOOKS
            .iter()
            .flat_map(|hook| hook.functions)
            .map(|&function| (Wanted::Function, function));
        Types::find(bytes, structures.chain(functions))
            .with_context(|| format!("{} is not BTF that can be read", path.display()))
            .map(Self)
    }

    /// All offsets that the kernel half needs. Fails, naming the first member that this kernel does
    /// not have.
    pub fn offsets(&self) -> Result<Offsets> {
        let mut values = [0; Offsets::FIELDS.len()];
        for (value, &(structure, member)) in values.iter_mut().zip(Offsets::FIELDS) {
            *value = self
                .0
                .offset(structure, member)
                .with_context(|| format!("this kernel's struct {structure} has no {member}"))?;
        }
        Ok(Offsets::from_values(&values))
    }

    /// How many parameters a kernel function of the table of hooks takes; `None` where BTF does not
    /// know it.
    pub fn parameters(&self, function: &'static str) -> Option<usize> {
        self.0.parameters(function)
    }
}
