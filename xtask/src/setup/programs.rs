//! Fetches the real programs that scenarios run, with all that they need, from Debian's packages into
//! one folder of the cache, as an image is to a container; it never installs one on this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::PrivateSuites;
use super::lock::Lock;
use crate::bpf::cache_dir;
use crate::command::output_of;
use crate::progress::Progress;

/// The suite that all of them are taken from, so that they fit together.
const SUITE: &str = "bookworm";

/// The programs themselves; what they depend on comes with them.
const PACKAGES: [&str; 7] = [
    "openjdk-17-jdk-headless",
    "libzookeeper-java",
    "libtomcat10-java",
    "tomcat10-common",
    "redis-server",
    "nginx-light",
    "apache2-utils",
];

/// Java's compiler in that folder.
pub const JAVAC: &str = "usr/lib/jvm/java-17-openjdk-amd64/bin/javac";

/// The folder, fetched where it is missing. Its name changes with what is in it.
pub fn programs() -> Result<PathBuf> {
    let folder = cache_dir().join(format!("programs-{SUITE}-1"));
    fetched(
        folder,
        &PACKAGES,
        (
            "real programs",
            "ZooKeeper, Tomcat, Redis, nginx from packages",
        ),
    )
}

/// A folder with Prometheus and its promtool, which need nothing but the C library.
pub fn prometheus() -> Result<PathBuf> {
    let folder = cache_dir().join(format!("prometheus-{SUITE}-1"));
    fetched(
        folder,
        &["prometheus"],
        (
            "Prometheus",
            "reads tracer's metrics and judges its alert rules",
        ),
    )
}

/// A folder with the tools that tracer's cost and losses are measured beside. It is the root of a file system.
pub fn peers() -> Result<PathBuf> {
    fetched(
        cache_dir().join(format!("peers-{SUITE}-1")),
        &["libbpf-tools", "bpftrace", "strace", "lsof"],
        ("peers", "what tracer's cost is compared with"),
    )
}

/// A folder with an OpenTelemetry collector, Rotel, in `rotel/rotel-agent`, and the libraries that it needs.
/// Debian has none; this one comes as a package for Python, whose interpreter it contains.
pub fn collector() -> Result<PathBuf> {
    const PYTHON: &str = "3.11";
    const COLLECTOR: &str = "rotel==0.0.1a15";
    let folder = fetched(
        cache_dir().join(format!("collector-{SUITE}-1")),
        &[&format!("libpython{PYTHON}")],
        ("libraries", "for an OpenTelemetry collector"),
    )?;
    if folder.join("rotel").exists() {
        return Ok(folder);
    }
    let python = super::python()?;
    let _lock = Lock::take()?;
    let progress = Progress::start("OpenTelemetry collector", "is told of verdicts");
    let new = tempfile::tempdir_in(cache_dir())?;
    let mut install = Command::new(python);
    install
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:"])
        .args(["--python-version", PYTHON, "--target"])
        .arg(new.path())
        .arg(COLLECTOR);
    output_of(&mut install)?;
    let agent = new.path().join("rotel/rotel-agent");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
    fs::rename(new.path().join("rotel"), folder.join("rotel"))
        .with_context(|| format!("cannot store {COLLECTOR}"))?;
    progress.done(COLLECTOR);
    Ok(folder)
}

/// Programs that read images and run containers.
pub struct Containers {
    /// Unpacks an image. It needs nothing but the C library.
    pub umoci: PathBuf,
    /// The runtime.
    pub crun: PathBuf,
    /// The folder with the libraries that it needs.
    libraries: PathBuf,
}

impl Containers {
    /// All libraries that the runtime needs, its loader first.
    pub fn libraries_of_crun(&self) -> Result<Vec<PathBuf>> {
        let loader = self.libraries.join("ld-linux-x86-64.so.2");
        let mut list = Command::new(&loader);
        list.arg("--library-path").arg(&self.libraries);
        // A line each: `libcap.so.2 => /folder/libcap.so.2 (0x7f…)`, and two without the arrow.
        let listed = output_of(list.arg("--list").arg(&self.crun))?;
        let paths = listed.lines().filter_map(|line| {
            let (_, path) = line.split_once(" => ")?;
            Some(PathBuf::from(path.split(' ').next()?))
        });
        Ok(std::iter::once(loader.clone()).chain(paths).collect())
    }
}

/// Those programs, fetched where they are missing.
pub fn containers() -> Result<Containers> {
    let folder = cache_dir().join(format!("containers-{SUITE}-1"));
    let folder = fetched(
        folder,
        &["crun", "umoci"],
        ("container tools", "read tracer's image and run it"),
    )?;
    Ok(Containers {
        umoci: folder.join("usr/bin/umoci"),
        crun: folder.join("usr/bin/crun"),
        libraries: folder.join("usr/lib/x86_64-linux-gnu"),
    })
}

/// A folder with packages and all that they need, fetched where it is missing.
fn fetched(folder: PathBuf, packages: &[&str], (what, why): (&str, &str)) -> Result<PathBuf> {
    if folder.exists() {
        return Ok(folder);
    }
    let _lock = Lock::take()?;
    // Another run may have fetched them while this one waited for the lock.
    if folder.exists() {
        return Ok(folder);
    }
    let progress = Progress::start(what, why);
    let suites = PrivateSuites::open(&cache_dir().join("apt"))?;
    let new = tempfile::tempdir_in(cache_dir())?;
    suites.unpack_root(SUITE, packages, new.path())?;
    // Renamed as the last step, so that what is in the cache is always whole.
    fs::rename(new.path(), &folder)
        .with_context(|| format!("cannot store {}", folder.display()))?;
    progress.done(&folder.display().to_string());
    Ok(folder)
}
