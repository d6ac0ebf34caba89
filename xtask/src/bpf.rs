//! Finds a Rust toolchain and a linker that can build the kernel half, and builds it; it never
//! installs anything: `cargo xtask setup` does that.
//!
//! Both xtask and `tracer/build.rs` compile this file, so that there is one definition of how the
//! BPF object is made. It therefore uses the standard library only.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the kernel half: BPF byte code, little endian.
pub const TARGET: &str = "bpfel-unknown-none";

/// The release of bpf-linker that the set-up installs and that is looked for in the cache.
pub const LINKER_VERSION: &str = "0.13.0";

/// The package, and its binary, that holds the kernel half.
pub const PACKAGE: &str = "tracer-ebpf";

/// Its binary that tracer's cost is held against.
pub const FLOOR: &str = "floor";

/// The profile of the workspace that the kernel half is built with.
const PROFILE: &str = "bpf";

/// What every error ends with: the one command that mends it.
const REMEDY: &str = "run `cargo xtask setup`";

/// How `core` for [`TARGET`] is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The compiler ships it built.
    Prebuilt,
    /// The compiler ships its source (`rust-src`), and cargo builds it first.
    FromSource,
}

/// A cargo and a rustc that can compile for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The cargo that belongs to `rustc`.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// Where its `core` comes from.
    pub core: Core,
    /// The major version of the LLVM in it; bpf-linker's must be the same, because an older one
    /// cannot read the compiler's bit code.
    pub llvm: u32,
}

impl Compiler {
    /// Looks through PATH, then the distribution's own folder; a compiler with a built `core` is
    /// taken before one that must build it. Fails, with the remedy, when there is none.
    pub fn find() -> Result<Self, String> {
        let mut folders = search_path();
        let distribution = PathBuf::from("/usr/bin");
        if !folders.contains(&distribution) {
            folders.push(distribution);
        }
        let candidates: Vec<Self> = folders
            .iter()
            .filter_map(|folder| Self::in_folder(folder))
            .collect();
        candidates
            .iter()
            .find(|candidate| candidate.core == Core::Prebuilt)
            .or_else(|| candidates.first())
            .cloned()
            .ok_or_else(|| {
                format!(
                    "no Rust compiler here can build for {TARGET} (none has a built core for it or \
                     the component rust-src): {REMEDY}"
                )
            })
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let cargo = executable(folder, "cargo")?;
        let rustc = executable(folder, "rustc")?;
        let llvm = llvm_major(&output(&rustc, &["-vV"])?)?;
        let core = if has_prebuilt_core(&rustc) {
            Core::Prebuilt
        } else if has_core_source(&rustc) {
            Core::FromSource
        } else {
            return None;
        };
        Some(Self {
            cargo,
            rustc,
            core,
            llvm,
        })
    }
}

/// Everything that building the kernel half takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl Toolchain {
    /// Finds a compiler and a linker whose LLVM can read the compiler's output. Fails with one
    /// sentence that names the remedy.
    pub fn find() -> Result<Self, String> {
        let compiler = Compiler::find()?;
        let linker = find_linker(compiler.llvm)?;
        Ok(Self { compiler, linker })
    }

    /// Builds a binary of the kernel half's package in the workspace at `root`, [`PACKAGE`] for what
    /// tracer loads, and returns the object's path. `target` is a folder of its own for the build:
    /// sharing the outer cargo's would wait for its lock for ever. Fails when cargo does.
    pub fn build(&self, root: &Path, target: &Path, binary: &str) -> Result<PathBuf, String> {
        let mut command = self.cargo("build", root, target);
        command.args(["--bin", binary]);
        let status = command
            .status()
            .map_err(|error| format!("cannot start {}: {error}", self.compiler.cargo.display()))?;
        if !status.success() {
            return Err(format!(
                "{binary} did not build ({status}); the compiler's messages stand above; if they \
                 name the linker or LLVM, {REMEDY}"
            ));
        }
        let object = target.join(TARGET).join(PROFILE).join(binary);
        if object.is_file() {
            Ok(object)
        } else {
            Err(format!(
                "cargo reported success but left no {}",
                object.display()
            ))
        }
    }

    /// The command line that does `subcommand` (`build`, or `clippy`) to the kernel half.
    pub fn cargo(&self, subcommand: &str, root: &Path, target: &Path) -> Command {
        // Cargo would take the first `cargo-clippy` in PATH, which may be another compiler's.
        let program = match subcommand {
            "build" => self.compiler.cargo.clone(),
            other => self.compiler.cargo.with_file_name(format!("cargo-{other}")),
        };
        let mut command = Command::new(program);
        forget_outer_cargo(&mut command);
        command
            .current_dir(root)
            .env("CARGO", &self.compiler.cargo)
            .env("RUSTC", &self.compiler.rustc)
            // aya-ebpf needs an unstable feature for its inline assembly, and `-Z build-std` is
            // unstable too.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rust_flags())
            .arg(subcommand)
            .args(["--profile", PROFILE, "--target", TARGET])
            .args(["--package", PACKAGE])
            .arg("--target-dir")
            .arg(target);
        if self.compiler.core == Core::FromSource {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }

    /// The compiler's flags, in cargo's encoded form, which allows spaces in the linker's path.
    fn rust_flags(&self) -> OsString {
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.linker);
        let flags = [linker, "-Clink-arg=--btf".into(), "-Cdebuginfo=2".into()];
        flags.join(OsStr::new("\x1f"))
    }
}

/// Finds a bpf-linker for the compiler's LLVM: the set-up's own, else the user's. Fails with the
/// remedy.
pub fn find_linker(llvm: u32) -> Result<PathBuf, String> {
    let own = linker_root(llvm).join("bin");
    let users = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
    own_first(own, users)
        .find_map(|folder| executable(&folder, "bpf-linker"))
        .ok_or_else(|| format!("bpf-linker is not installed: {REMEDY}"))
}

/// The set-up's folder is certain to match the compiler; the user's may hold another LLVM, which
/// only the link step can tell.
fn own_first(own: PathBuf, users: Option<PathBuf>) -> impl Iterator<Item = PathBuf> {
    [own].into_iter().chain(users).chain(search_path())
}

/// Where the set-up installs the bpf-linker that reads the bit code of LLVM `llvm`.
pub fn linker_root(llvm: u32) -> PathBuf {
    cache_dir().join(format!("bpf-linker-{LINKER_VERSION}-llvm-{llvm}"))
}

/// Where the project keeps what it installs for itself: `tracer` in the user's cache folder.
pub fn cache_dir() -> PathBuf {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("tracer")
}

/// Removes what an outer cargo, rustup or clippy left in the environment: it would make the inner
/// cargo use the outer compiler, flags and target, or the outer compiler's libraries.
fn forget_outer_cargo(command: &mut Command) {
    const NAMES: [&str; 8] = [
        "CARGO",
        "CLIPPY_ARGS",
        "LD_LIBRARY_PATH",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    const PREFIXES: [&str; 7] = [
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// The folders of PATH, each once: looking into one starts compilers.
fn search_path() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in env::var_os("PATH").iter().flat_map(env::split_paths) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

fn executable(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = folder.join(name);
    path.is_file().then_some(path)
}

fn has_prebuilt_core(rustc: &Path) -> bool {
    output(rustc, &["--print", "target-libdir", "--target", TARGET])
        .is_some_and(|folder| Path::new(folder.trim()).is_dir())
}

fn has_core_source(rustc: &Path) -> bool {
    output(rustc, &["--print", "sysroot"]).is_some_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}

/// What a compiler prints, or nothing where it cannot be run: such a one is passed over.
fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    forget_outer_cargo(&mut command);
    let output = command.args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_version() {
        let version = "rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(version), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn the_own_linker_folder_comes_first_and_names_both_versions() {
        let own = linker_root(22);
        assert!(own.ends_with(format!("tracer/bpf-linker-{LINKER_VERSION}-llvm-22")));
        assert_eq!(own_first(own.clone(), None).next(), Some(own));
    }
}
