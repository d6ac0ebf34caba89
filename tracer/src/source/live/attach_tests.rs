//! Tests of the object that holds the kernel half, as it is built; never of what a kernel says to it.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use super::*;

/// What the compiler makes calls of by itself are loops over bytes on this target.
#[test]
fn nothing_calls_a_loop_over_bytes() {
    let object = object::File::parse(OBJECT).unwrap();
    let called: Vec<_> = object
        .sections()
        .flat_map(|section| section.relocations())
        .filter_map(|(_, relocation)| match relocation.target() {
            RelocationTarget::Symbol(symbol) => object.symbol_by_index(symbol).ok()?.name().ok(),
            _ => None,
        })
        .collect();
    assert!(called.contains(&"EVENTS"), "relocations were read");
    for loops in ["memset", "memcpy", "memmove", "memcmp"] {
        assert!(!called.contains(&loops), "{loops} is called");
    }
}

/// Each program of the table of hooks is there, and the table names each that is.
#[test]
fn the_table_of_hooks_names_the_programs_that_there_are() {
    let object = object::File::parse(OBJECT).unwrap();
    let is_program = |section: &str| {
        ["fentry", "fexit", "kprobe", "kretprobe", "tp_btf", "raw_tp"]
            .iter()
            .any(|kind| section.split('/').next() == Some(kind))
    };
    let mut there: Vec<_> = object
        .symbols()
        .filter(|symbol| symbol.is_global() && symbol.is_definition())
        .filter(|symbol| {
            let section = symbol.section_index();
            let section = section.and_then(|index| object.section_by_index(index).ok());
            section.is_some_and(|section| section.name().is_ok_and(is_program))
        })
        .filter_map(|symbol| symbol.name().ok())
        // Never attached.
        .filter(|name| *name != "collector")
        .collect();
    let mut named: Vec<_> = HOOKS
        .iter()
        .flat_map(|hook| hook.programs)
        .map(|(program, _)| *program)
        .collect();
    there.sort_unstable();
    named.sort_unstable();
    assert_eq!(there, named);
}
