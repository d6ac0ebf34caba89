//! Reads of BTF only what is asked for: members of some structures, parameters of some functions, and
//! the ids of these and of tracepoints; never trusts a byte, and never keeps a type as a value of its own.
//!
//! The format is told in `Documentation/bpf/btf.rst`. A kernel has some hundred thousand types, of
//! which some dozens are needed: a reader that makes values of all of them takes seconds under
//! emulation, and tens of megabytes.

use std::{collections::HashMap, ffi::CStr};

use anyhow::{Context, Result, bail, ensure};
use rustc_hash::FxHashMap;
use zerocopy::IntoBytes as _;

/// What BTF in this machine's byte order begins with.
const MAGIC: u16 = 0xEB9F;

/// Its version, and the bytes of its head (`struct btf_header`).
const VERSION: u8 = 1;
const HEAD_BYTES: u32 = 24;

/// Bytes of `struct btf_type`, and of one member of a structure (`struct btf_member`).
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// Qualifiers and typedefs in a row, and unnamed structures in each other, that are followed. A
/// kernel has fewer than ten; a cycle has no end.
const DEPTH_MAX: usize = 32;

/// Members looked at to find one: a hundred times what the largest structure has.
const MEMBERS_MAX: usize = 1 << 18;

/// Kinds of types, as `include/uapi/linux/btf.h` numbers them.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// What can be asked for by name. A name may belong to one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Structure,
    Function,
    Tracepoint,
}

impl Wanted {
    /// What a type of this kind may be asked for as.
    const fn of(kind: u32) -> Option<Self> {
        match kind {
            kind::STRUCT => Some(Self::Structure),
            kind::FUNC => Some(Self::Function),
            kind::TYPEDEF => Some(Self::Tracepoint),
            _ => None,
        }
    }

    /// What its name has in front of the one that is asked for (`include/trace/bpf_probe.h`).
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Structure | Self::Function => b"",
            Self::Tracepoint => b"btf_trace_",
        }
    }
}

/// A type's head.
#[derive(Clone, Copy)]
struct Type {
    /// Where what belongs to its kind begins.
    rest: usize,
    name: u32,
    kind: u32,
    /// How many members, parameters or values follow.
    count: usize,
    /// Whether members' offsets hold their sizes in bits too.
    has_bit_sizes: bool,
    /// Its size, or the id of the type that it refers to.
    size_or_id: u32,
}

/// The types of one BTF file.
pub(super) struct Types<'a> {
    bytes: &'a [u8],
    /// Where the names begin and end.
    strings: (usize, usize),
    /// Where each type begins; the type 1 is the first.
    starts: Vec<u32>,
    /// What was asked for and is there.
    ids: FxHashMap<(Wanted, &'static str), u32>,
}

impl<'a> Types<'a> {
    /// Finds what is wanted. Fails where this is no BTF, or has types of a kind that is not known:
    /// what follows those cannot be found.
    pub(super) fn find(
        bytes: &'a [u8],
        wanted: impl Iterator<Item = (Wanted, &'static str)>,
    ) -> Result<Self> {
        ensure!(u16_at(bytes, 0)? == MAGIC, "it does not begin as BTF does");
        let head = usize_at(bytes, 4)?;
        let section = |at| -> Result<(usize, usize)> {
            let start = head.saturating_add(usize_at(bytes, at)?);
            let end = start.saturating_add(usize_at(bytes, at + 4)?);
            ensure!(end <= bytes.len(), "a section ends behind the file");
            Ok((start, end))
        };
        let (mut at, end) = section(8)?;
        let strings = section(16)?;
        let mut types = Self {
            strings,
            starts: Vec::new(),
            ids: HashMap::default(),
            bytes,
        };
        let wanted: FxHashMap<(Wanted, &[u8]), &'static str> = wanted
            .map(|(what, name)| ((what, name.as_bytes()), name))
            .collect();
        while at < end {
            types.starts.push(u32::try_from(at)?);
            let head = types.head(at)?;
            if let Some(what) = Wanted::of(head.kind)
                && let Some(asked) = types.string(head.name).strip_prefix(what.prefix())
                && let Some(name) = wanted.get(&(what, asked))
            {
                // The first of a name, as libbpf takes it.
                let id = u32::try_from(types.starts.len())?;
                types.ids.entry((what, name)).or_insert(id);
            }
            at = head.rest.saturating_add(rest_bytes(&head)?);
        }
        Ok(types)
    }

    /// Where a member lies in a structure, in bytes. The member may be a path with dots, and may lie
    /// in unnamed structures and unions. Fails where there is no such member, or it is a bit field.
    pub(super) fn offset(&self, structure: &'static str, member: &str) -> Result<u32> {
        let mut id = *self
            .ids
            .get(&(Wanted::Structure, structure))
            .context("no such structure")?;
        let mut bits = 0_u32;
        let mut budget = MEMBERS_MAX;
        for name in member.split('.') {
            let found = self.member(id, name.as_bytes(), 0, &mut budget)?;
            let (offset, of) = found.context("no such member")?;
            bits = bits.checked_add(offset).context("it lies too far")?;
            id = of;
        }
        ensure!(bits.is_multiple_of(8), "it is a bit field");
        Ok(bits / 8)
    }

    /// How many parameters a function takes; `None` where it is not there.
    pub(super) fn parameters(&self, function: &'static str) -> Option<usize> {
        let id = *self.ids.get(&(Wanted::Function, function))?;
        let prototype = self.get(self.get(id).ok()?.size_or_id).ok()?;
        (prototype.kind == kind::FUNC_PROTO).then_some(prototype.count)
    }

    /// BTF in which the functions and tracepoints that were asked for have the ids that they have here. All
    /// other types are the smallest that there is, and behind the last one that was found there are none.
    pub(super) fn with_ids_only(&self) -> Result<Vec<u8>> {
        const NOTHING: [u32; 3] = [0, kind::FWD << 24, 0];
        let mut names = vec![0];
        let last = self.ids.values().max().copied().unwrap_or_default();
        let mut types = vec![NOTHING; usize::try_from(last)?];
        for (&(what, name), &id) in &self.ids {
            if what == Wanted::Structure {
                continue;
            }
            let index = usize::try_from(id)?.checked_sub(1);
            if let Some(at) = index.and_then(|index| types.get_mut(index)) {
                *at = [u32::try_from(names.len())?, self.get(id)?.kind << 24, 0];
            }
            names.extend([what.prefix(), name.as_bytes(), &[0]].concat());
        }
        let types = types.as_bytes();
        let (types_bytes, names_bytes) = (u32::try_from(types.len())?, u32::try_from(names.len())?);
        let sections = [HEAD_BYTES, 0, types_bytes, types_bytes, names_bytes];
        let magic = MAGIC.to_ne_bytes();
        Ok([&magic, &[VERSION, 0], sections.as_bytes(), types, &names].concat())
    }

    /// A member's offset in bits and its type.
    fn member(
        &self,
        id: u32,
        name: &[u8],
        depth: usize,
        budget: &mut usize,
    ) -> Result<Option<(u32, u32)>> {
        ensure!(depth < DEPTH_MAX, "structures lie too deep in each other");
        let structure = self.unqualified(id)?;
        if !matches!(structure.kind, kind::STRUCT | kind::UNION) {
            return Ok(None);
        }
        for index in 0..structure.count {
            *budget = budget.checked_sub(1).context("too many members")?;
            let at = structure.rest + index * MEMBER_BYTES;
            let (of, offset) = (u32_at(self.bytes, at + 4)?, u32_at(self.bytes, at + 8)?);
            let (offset, size) = if structure.has_bit_sizes {
                (offset & 0x00FF_FFFF, offset >> 24)
            } else {
                (offset, 0)
            };
            let own = self.string(u32_at(self.bytes, at)?);
            if own.is_empty() {
                if let Some((inner, of)) = self.member(of, name, depth + 1, budget)? {
                    return Ok(Some((offset.saturating_add(inner), of)));
                }
            } else if own == name {
                ensure!(size == 0, "it is a bit field");
                return Ok(Some((offset, of)));
            }
        }
        Ok(None)
    }

    /// A type without its qualifiers and other names.
    fn unqualified(&self, mut id: u32) -> Result<Type> {
        for _ in 0..DEPTH_MAX {
            let found = self.get(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.size_or_id;
                }
                _ => return Ok(found),
            }
        }
        bail!("a type refers to itself")
    }

    fn get(&self, id: u32) -> Result<Type> {
        let index = usize::try_from(id)?.checked_sub(1);
        let start = index.and_then(|index| self.starts.get(index));
        self.head(usize::try_from(*start.context("no such type")?)?)
    }

    fn head(&self, at: usize) -> Result<Type> {
        let info = u32_at(self.bytes, at.saturating_add(4))?;
        Ok(Type {
            rest: at.saturating_add(TYPE_BYTES),
            name: u32_at(self.bytes, at)?,
            kind: info >> 24 & 0x1F,
            count: usize::try_from(info & 0xFFFF)?,
            has_bit_sizes: info >> 31 == 1,
            size_or_id: u32_at(self.bytes, at.saturating_add(8))?,
        })
    }

    /// A name; empty where there is none.
    fn string(&self, offset: u32) -> &[u8] {
        let (start, end) = self.strings;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let text = self.bytes.get(start.saturating_add(offset)..end);
        let name = text.and_then(|text| CStr::from_bytes_until_nul(text).ok());
        name.map(CStr::to_bytes).unwrap_or_default()
    }
}

/// Bytes behind a type's head.
fn rest_bytes(head: &Type) -> Result<usize> {
    Ok(match head.kind {
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION => head.count * MEMBER_BYTES,
        kind::ENUM | kind::FUNC_PROTO => head.count * 8,
        kind::DATASEC | kind::ENUM64 => head.count * 12,
        other => bail!("it has types of the unknown kind {other}"),
    })
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().context("it ends too early")
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn usize_at(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u32_at(bytes, at)?)?)
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
