//! The reader of BTF held to hand-made types, to broken ones, and to another reader on this kernel.

use std::{fs, path::Path};

use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use proptest::prelude::*;
use tracer_common::Offsets;

use super::{
    super::{hooks::HOOKS, offsets::VMLINUX_BTF},
    *,
};

/// Names that the tests ask for.
const WANTED: [(Wanted, &str); 5] = [
    (Wanted::Structure, "outer"),
    (Wanted::Structure, "both"),
    (Wanted::Function, "both"),
    (Wanted::Function, "absent"),
    (Wanted::Tracepoint, "both"),
];

/// A BTF file, put together type by type.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn with(mut self, kind: u32, name: &str, size_or_id: u32, rest: &[u32]) -> Self {
        let name = self.name(name);
        self.words(&[name, kind << 24, size_or_id]);
        self.words(rest);
        self
    }

    /// A structure or union of members with their types and offsets in bits.
    fn holder(mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> Self {
        let name = self.name(name);
        let count = u32::try_from(members.len()).unwrap();
        self.words(&[name, kind << 24 | count, 64]);
        for &(name, of, offset) in members {
            let name = self.name(name);
            self.words(&[name, of, offset]);
        }
        self
    }

    /// As [`Self::holder`] gives it, but the last structure's offsets hold sizes too.
    fn with_bit_sizes(mut self, name: &str, members: &[(&str, u32, u32)]) -> Self {
        let at = self.types.len();
        self = self.holder(kind::STRUCT, name, members);
        let info = u32::from_ne_bytes(self.types[at + 4..at + 8].try_into().unwrap());
        self.types[at + 4..at + 8].copy_from_slice(&(info | 1 << 31).to_ne_bytes());
        self
    }

    fn bytes(self) -> Vec<u8> {
        let length = |section: &[u8]| u32::try_from(section.len()).unwrap();
        let (types, strings) = (length(&self.types), length(&self.strings));
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

/// The types of BTF that was built.
fn types(bytes: &[u8]) -> Types<'_> {
    Types::find(bytes, WANTED.into_iter()).unwrap()
}

/// `int` is 1; `struct inner { int a; int b; }` is 2; `const inner` is 3; a union of it and an `int`
/// is 4; `struct outer { int first; inner; union; const inner named; }` is 5.
fn nested() -> Builder {
    Builder::new()
        .with(kind::INT, "int", 4, &[32])
        .holder(kind::STRUCT, "inner", &[("a", 1, 0), ("b", 1, 32)])
        .with(kind::CONST, "", 2, &[])
        .holder(kind::UNION, "", &[("", 2, 0), ("alone", 1, 0)])
        .holder(
            kind::STRUCT,
            "outer",
            &[("first", 1, 0), ("", 4, 64), ("named", 3, 128)],
        )
}

fn message(result: Result<impl std::fmt::Debug>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn members_of_members() {
    let bytes = nested().bytes();
    let types = types(&bytes);
    let offset = |member| types.offset("outer", member).unwrap();
    assert_eq!(offset("first"), 0);
    assert_eq!(offset("named"), 16);
    assert_eq!(offset("named.b"), 20);
    // In an unnamed structure in an unnamed union.
    assert_eq!(offset("b"), 12);
    assert_eq!(offset("alone"), 8);
}

#[test]
fn what_is_not_there() {
    let bytes = nested().bytes();
    let types = types(&bytes);
    let refusal = |structure, member| message(types.offset(structure, member));
    assert_eq!(refusal("outer", "absent"), "no such member");
    assert_eq!(refusal("outer", "first.a"), "no such member");
    assert_eq!(refusal("outer", ""), "no such member");
    assert_eq!(refusal("both", "a"), "no such structure");
    assert_eq!(types.parameters("absent"), None);
}

#[test]
fn bit_fields_have_no_offset() {
    let bytes = Builder::new()
        .with(kind::INT, "int", 4, &[32])
        .with_bit_sizes("outer", &[("whole", 1, 32), ("bits", 1, 3 << 24 | 64)])
        .holder(kind::STRUCT, "both", &[("old", 1, 3)])
        .bytes();
    let types = types(&bytes);
    assert_eq!(types.offset("outer", "whole").unwrap(), 4);
    assert_eq!(message(types.offset("outer", "bits")), "it is a bit field");
    assert_eq!(message(types.offset("both", "old")), "it is a bit field");
}

/// A structure and a function may share a name, and so may two of a kind: the first is taken.
#[test]
fn a_name_belongs_to_one_of_each() {
    let bytes = Builder::new()
        .with(kind::INT, "int", 4, &[32])
        .holder(kind::STRUCT, "both", &[("a", 1, 64)])
        .holder(kind::STRUCT, "both", &[("a", 1, 0)])
        .with(kind::TYPEDEF, "both", 1, &[])
        .with(kind::FUNC_PROTO, "", 0, &[])
        .with(kind::FUNC, "both", 5, &[])
        .bytes();
    let types = types(&bytes);
    assert_eq!(types.offset("both", "a").unwrap(), 8);
    assert_eq!(types.parameters("both"), Some(0));
}

/// Every kind has its own length: one that is read wrongly would hide what follows.
#[test]
fn every_kind_is_passed_over() {
    let bytes = Builder::new()
        .with(kind::PTR, "", 0, &[])
        .with(kind::ARRAY, "", 0, &[1, 1, 4])
        .with(kind::FWD, "fwd", 0, &[])
        .with(kind::FLOAT, "double", 8, &[])
        .with(kind::VAR, "var", 1, &[1])
        .with(kind::DECL_TAG, "tag", 1, &[0])
        .with(kind::TYPE_TAG, "user", 1, &[])
        .with(kind::VOLATILE, "", 1, &[])
        .with(kind::RESTRICT, "", 1, &[])
        .holder(kind::DATASEC, ".data", &[("", 5, 0)])
        .holder(kind::ENUM64, "wide", &[("V", 1, 0)])
        .holder(kind::STRUCT, "outer", &[("a", 1, 8)])
        .bytes();
    let types = types(&bytes);
    assert_eq!(types.offset("outer", "a").unwrap(), 1);
}

#[test]
fn cycles_end() {
    let bytes = Builder::new()
        .with(kind::CONST, "", 1, &[])
        .holder(kind::STRUCT, "outer", &[("", 2, 0), ("", 2, 0)])
        .holder(kind::STRUCT, "both", &[("", 1, 0)])
        .bytes();
    let types = types(&bytes);
    assert_eq!(
        message(types.offset("outer", "a")),
        "structures lie too deep in each other"
    );
    assert_eq!(
        message(types.offset("both", "a")),
        "a type refers to itself"
    );
}

#[test]
fn what_is_no_btf() {
    let find = |bytes: &[u8]| Types::find(bytes, WANTED.into_iter()).map(drop);
    assert_eq!(message(find(b"")), "it ends too early");
    assert_eq!(message(find(b"\x7fELF")), "it does not begin as BTF does");
    let unknown = Builder::new().with(25, "", 0, &[]).bytes();
    assert_eq!(
        message(find(&unknown)),
        "it has types of the unknown kind 25"
    );
    let whole = nested().bytes();
    for length in 0..whole.len() {
        assert!(find(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_has_ids_keeps_them() {
    let bytes = nested()
        .with(kind::FUNC_PROTO, "", 1, &[])
        .with(kind::FUNC, "both", 6, &[])
        .with(kind::TYPEDEF, "both", 1, &[])
        .with(kind::FUNC, "other", 6, &[])
        .with(kind::TYPEDEF, "btf_trace_both", 1, &[])
        .with(kind::INT, "last", 4, &[32])
        .bytes();
    let ids_only = types(&bytes).with_ids_only().unwrap();
    let found = types(&ids_only);
    let expected = [
        ((Wanted::Function, "both"), 7),
        ((Wanted::Tracepoint, "both"), 10),
    ];
    assert_eq!(found.ids, expected.into_iter().collect());
    assert_eq!(found.starts.len(), 10);
}

#[test]
fn nothing_found_has_no_ids() {
    let bytes = nested().bytes();
    let ids_only = types(&bytes).with_ids_only().unwrap();
    assert!(types(&ids_only).ids.is_empty());
}

proptest! {
    #[test]
    fn any_change_is_an_error_or_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = nested().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(types) = Types::find(&bytes, WANTED.into_iter()) {
            for member in ["first", "b", "named.b", "alone", "absent"] {
                drop(types.offset("outer", member));
            }
            types.parameters("both");
            prop_assert!(types.with_ids_only().is_ok());
        }
    }
}

/// A file in memory, as btfparse reads it.
struct InMemory(Vec<u8>);

impl Readable for InMemory {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

/// Where this machine's kernel has BTF, a reader of other people's making must agree.
#[test]
fn another_reader_agrees_on_this_kernel() {
    let Ok(bytes) = fs::read(Path::new(VMLINUX_BTF)) else {
        return;
    };
    let structures = Offsets::FIELDS
        .iter()
        .map(|&(name, _)| (Wanted::Structure, name));
    let functions = HOOKS.iter().flat_map(|hook| hook.functions);
    let functions =
        functions.flat_map(|&name| [(Wanted::Function, name), (Wanted::Tracepoint, name)]);
    let types = Types::find(&bytes, structures.chain(functions)).unwrap();
    let ids_only = types.with_ids_only().unwrap();
    let ids_only = TypeInformation::new(&InMemory(ids_only)).unwrap();
    let other = TypeInformation::new(&InMemory(bytes.clone())).unwrap();
    for &(structure, member) in Offsets::FIELDS {
        let offset = match other.offset_of(other.id_of(structure).unwrap(), member) {
            Ok((_, Offset::ByteOffset(offset))) => offset,
            other => panic!("{structure}.{member}: {other:?}"),
        };
        assert_eq!(
            types.offset(structure, member).unwrap(),
            offset,
            "{structure}.{member}"
        );
    }
    for name in HOOKS.iter().flat_map(|hook| hook.functions) {
        let prototype = other.id_of(name).and_then(|id| match other.from_id(id) {
            Some(TypeVariant::Func(function)) => other.from_id(*function.prototype_tid()),
            _ => None,
        });
        let parameters = prototype.and_then(|prototype| match prototype {
            TypeVariant::FuncProto(prototype) => Some(prototype.parameter_list().len()),
            _ => None,
        });
        assert_eq!(types.parameters(name), parameters, "{name}");
        if parameters.is_some() {
            assert_eq!(ids_only.id_of(name), other.id_of(name), "{name}");
        }
        let tracepoint = format!("btf_trace_{name}");
        assert_eq!(
            ids_only.id_of(&tracepoint),
            other.id_of(&tracepoint),
            "{name}"
        );
    }
}
