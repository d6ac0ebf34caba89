//! Builds the kernel half and hands it to the compiler as one file; never installs anything.

#[path = "../xtask/src/bpf.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "xtask uses more of it than is used here"
)]
mod bpf;

use std::{env, fs, path::PathBuf, process::ExitCode};

use object::{
    build::{
        Error,
        elf::{Builder, SectionData},
    },
    elf::SHT_STRTAB,
};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=../tracer-ebpf");
    println!("cargo::rerun-if-changed=../tracer-common");
    println!("cargo::rerun-if-changed=../xtask/src/bpf.rs");
    // Without the feature nothing is attached, so nothing need be built.
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return ExitCode::SUCCESS;
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or(format!("cargo set no {name}"))
    };
    let out = folder("OUT_DIR")?;
    let root = folder("CARGO_MANIFEST_DIR")?.join("..");
    let object = bpf::Toolchain::find()?.build(&root, &out.join("bpf"), bpf::PACKAGE)?;
    let built = fs::read(&object).map_err(|error| format!("{}: {error}", object.display()))?;
    let bare = without_debug_information(&built)
        .map_err(|error| format!("{} cannot be written anew: {error}", object.display()))?;
    let object = out.join("tracer-ebpf.o");
    fs::write(&object, bare).map_err(|error| format!("{}: {error}", object.display()))
}

/// bpf-linker has made BTF of it, which is all that the kernel wants. It is nine tenths of the object, and
/// every start would read it.
fn without_debug_information(object: &[u8]) -> Result<Vec<u8>, Error> {
    let mut object = Builder::read(object)?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    object.delete_orphans();
    // LLVM keeps sections' names among those of symbols, which this library reads and does not write.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    object.set_section_sizes();
    let mut bare = Vec::new();
    object.write(&mut bare)?;
    Ok(bare)
}
