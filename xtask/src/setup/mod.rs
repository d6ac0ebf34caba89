//! Finds everything that building and testing tracer takes, and installs what is absent; it never
//! replaces what is there.
//!
//! Each function below stands for one thing, and the other commands call just those they need.

mod apt;
mod image;
mod kernels;
mod lock;
mod modules;
mod programs;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use kernels::{Kernel, MATRIX};
use lock::Lock;
pub use programs::{Containers, JAVAC, collector, containers, peers, programs, prometheus};
pub use python::python;

use crate::bpf::{self, Compiler, Toolchain};
use crate::command::{output_of, which};
use crate::progress::{Progress, found};

/// The distribution's compiler with a built `core` for BPF, and its clippy.
const COMPILER_PACKAGES: [&str; 4] = [
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-clippy",
];

/// Finds or installs all of it, and says where each thing is.
pub fn all() -> Result<()> {
    let compiler = compiler()?;
    found(
        "BPF compiler",
        &format!("{} with {:?} core", compiler.rustc.display(), compiler.core),
    );
    found("bpf-linker", &linker(&compiler)?.display().to_string());
    found("QEMU", &qemu()?.display().to_string());
    found("BusyBox", &busybox()?.display().to_string());
    found("Chromium's WebDriver", &browser()?.display().to_string());
    found("systemd-analyze", &systemd_analyze()?.display().to_string());
    found("Python", &python()?.display().to_string());
    match virtiofsd() {
        Ok(path) => found("virtiofsd", &path.display().to_string()),
        Err(error) => eprintln!("  missing virtiofsd: {error:#}"),
    }
    found("Prometheus", &prometheus()?.display().to_string());
    found(
        "OpenTelemetry collector",
        &collector()?.display().to_string(),
    );
    found("container tools", &containers()?.crun.display().to_string());
    found("real programs", &programs()?.display().to_string());
    found("peers", &peers()?.display().to_string());
    for prefix in MATRIX {
        found(
            &format!("kernel {prefix}"),
            &Kernel::with_prefix(prefix)?.release,
        );
    }
    Ok(())
}

/// What builds the kernel half: a compiler with `core` for BPF, and bpf-linker.
pub fn bpf_toolchain() -> Result<Toolchain> {
    linker(&compiler()?)?;
    Toolchain::find().map_err(anyhow::Error::msg)
}

/// As [`bpf_toolchain`], with a clippy of the same compiler: one of another cannot read its `core`.
pub fn bpf_clippy() -> Result<Toolchain> {
    let toolchain = bpf_toolchain()?;
    let clippy = toolchain.cargo("clippy", Path::new("."), Path::new("."));
    if !Path::new(clippy.get_program()).exists() {
        install("clippy", "checks the kernel half", &["rust-web-clippy"])?;
    }
    Ok(toolchain)
}

/// What builds libFuzzer, which is written in C++.
pub fn cxx_compiler() -> Result<PathBuf> {
    program("C++ compiler", "builds the fuzzer", "g++", "c++")
}

/// What drives the browser that the page of a report is tested in; the browser is there too.
pub fn browser() -> Result<PathBuf> {
    program(
        "Chromium",
        "opens the page of a report",
        "chromium",
        "chromium",
    )?;
    program(
        "Chromium's WebDriver",
        "lets tests drive the browser",
        "chromium-driver",
        "chromedriver",
    )
}

/// What checks the unit file.
pub fn systemd_analyze() -> Result<PathBuf> {
    program(
        "systemd",
        "checks the unit file",
        "systemd",
        "systemd-analyze",
    )
}

/// The emulator that the tests' kernels run in.
pub fn qemu() -> Result<PathBuf> {
    program(
        "QEMU",
        "runs the tests' kernels",
        "qemu-system-x86",
        "qemu-system-x86_64",
    )
}

/// The static BusyBox: the guest's userland.
pub fn busybox() -> Result<PathBuf> {
    // A BusyBox in PATH may be linked dynamically, and the guest has no libraries.
    let found = || which("busybox").filter(|path| is_static(path));
    if let Some(path) = found() {
        return Ok(path);
    }
    install("BusyBox", "the guest's programs", &["busybox-static"])?;
    found().context("the package busybox-static was installed, but no static busybox is in PATH")
}

/// The server that shows this machine's files to the guest.
pub fn virtiofsd() -> Result<PathBuf> {
    const PATHS: [&str; 3] = [
        "/usr/libexec/virtiofsd",
        "/usr/lib/qemu/virtiofsd",
        "/usr/lib/virtiofsd",
    ];
    let found = || PATHS.iter().map(PathBuf::from).find(|path| path.is_file());
    if let Some(path) = found() {
        return Ok(path);
    }
    // It comes with QEMU up to 7.2, and in a package of its own after that.
    let package = if apt::is_available("virtiofsd") {
        "virtiofsd"
    } else {
        "qemu-system-common"
    };
    install(
        "virtiofsd",
        "shows this machine's files to the guest",
        &[package],
    )?;
    found().with_context(|| format!("the package {package} was installed, but has no virtiofsd"))
}

/// Whether an ELF file runs without a dynamic loader.
pub fn is_static(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|content| crate::elf::is_static(&content))
}

fn compiler() -> Result<Compiler> {
    if let Ok(compiler) = Compiler::find() {
        return Ok(compiler);
    }
    let _lock = Lock::take()?;
    add_rust_source();
    if let Ok(compiler) = Compiler::find() {
        return Ok(compiler);
    }
    if !COMPILER_PACKAGES
        .iter()
        .all(|package| apt::is_available(package))
    {
        bail!(
            "no compiler can build for {}: `rustup component add rust-src` did not help, and this \
             distribution has no package {}; install rustup's rust-src by hand",
            bpf::TARGET,
            COMPILER_PACKAGES[2]
        );
    }
    let progress = Progress::start("BPF compiler", "core for the kernel half, from packages");
    apt::install(&COMPILER_PACKAGES)?;
    progress.done("installed");
    Compiler::find().map_err(anyhow::Error::msg)
}

/// Asks rustup for the source of `core`; its refusal is no error, since packages may have it.
fn add_rust_source() {
    let Some(rustup) = which("rustup") else {
        return;
    };
    let progress = Progress::start("rust-src", "core for the kernel half, from rustup");
    let mut add = Command::new(rustup);
    let added = output_of(add.args(["component", "add", "rust-src"]));
    progress.done(if added.is_ok() {
        "installed"
    } else {
        "not to be had from rustup"
    });
}

fn linker(compiler: &Compiler) -> Result<PathBuf> {
    if let Ok(path) = bpf::find_linker(compiler.llvm) {
        return Ok(path);
    }
    let _lock = Lock::take()?;
    let llvm = llvm_libraries(compiler.llvm)?;
    let root = bpf::linker_root(compiler.llvm);
    let name = format!("bpf-linker {}", bpf::LINKER_VERSION);
    let progress = Progress::start(name, "links the kernel half; takes one or two minutes");
    let build = tempfile::tempdir_in(bpf::cache_dir())?;
    let mut install = Command::new("cargo");
    install
        .env("LLVM_PREFIX", llvm)
        .env("CARGO_TARGET_DIR", build.path())
        .env_remove("RUSTFLAGS")
        .args(["install", "--locked", "--quiet", "bpf-linker"])
        .args(["--version", bpf::LINKER_VERSION])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{}", compiler.llvm),
        ])
        .arg("--root")
        .arg(root);
    output_of(&mut install)?;
    progress.done("built");
    bpf::find_linker(compiler.llvm).map_err(anyhow::Error::msg)
}

/// The folder of the LLVM that bpf-linker is built with: the same as the compiler's.
fn llvm_libraries(major: u32) -> Result<PathBuf> {
    let folder = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    if !folder.join("bin/llvm-config").exists() {
        let development = format!("llvm-{major}-dev");
        let polly = format!("libpolly-{major}-dev");
        install(
            "LLVM",
            "bpf-linker is built with the compiler's LLVM",
            &[&development, &polly],
        )?;
    }
    Ok(folder)
}

/// The program `name`, from `package` where absent.
fn program(what: &str, why: &str, package: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = which(name) {
        return Ok(path);
    }
    install(what, why, &[package])?;
    which(name).with_context(|| format!("the package {package} was installed, but has no {name}"))
}

fn install(what: &str, why: &str, packages: &[&str]) -> Result<()> {
    let progress = Progress::start(what, why);
    apt::install(packages)?;
    progress.done(&format!("installed {}", packages.join(" ")));
    Ok(())
}
