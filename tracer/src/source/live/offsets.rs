//! Structure offsets and function signatures from the running kernel's BTF; never a guess.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use tracer_common::Offsets;

/// Where the kernel describes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
pub struct KernelTypes(TypeInformation);

/// The whole file in memory: it is read in thousands of small pieces.
struct InMemory(Vec<u8>);

impl Readable for InMemory {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.0.get(start..start.saturating_add(buffer.len())) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

impl KernelTypes {
    /// Reads and parses the kernel's BTF.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let types = TypeInformation::new(&InMemory(bytes))
            .map_err(|error| anyhow!("{error:?}"))
            .with_context(|| format!("{} is not BTF that can be read", path.display()))?;
        Ok(Self(types))
    }

    /// All offsets that the kernel half needs. Fails, naming the first member that this kernel does
    /// not have.
    pub fn offsets(&self) -> Result<Offsets> {
        let mut values = [0; Offsets::FIELDS.len()];
        for (value, (structure, member)) in values.iter_mut().zip(Offsets::FIELDS) {
            *value = self
                .offset(structure, member)
                .with_context(|| format!("this kernel's struct {structure} has no {member}"))?;
        }
        Ok(Offsets::from_values(&values))
    }

    fn offset(&self, structure: &str, member: &str) -> Result<u32> {
        let id = self
            .0
            .id_of(structure)
            .ok_or_else(|| anyhow!("no such structure"))?;
        match self
            .0
            .offset_of(id, member)
            .map_err(|error| anyhow!("{error:?}"))?
            .1
        {
            Offset::ByteOffset(bytes) => Ok(bytes),
            Offset::BitOffsetAndSize(..) => Err(anyhow!("it is a bit field")),
        }
    }

    /// How many parameters a kernel function takes; `None` where BTF does not know it.
    pub fn parameters(&self, function: &str) -> Option<usize> {
        let Some(TypeVariant::Func(function)) =
            self.0.id_of(function).and_then(|id| self.0.from_id(id))
        else {
            return None;
        };
        match self.0.from_id(*function.prototype_tid())? {
            TypeVariant::FuncProto(prototype) => Some(prototype.parameter_list().len()),
            _ => None,
        }
    }
}
