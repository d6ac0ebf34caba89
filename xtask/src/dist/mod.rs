//! Makes what is handed to users of the static binary: an image, a tarball, a package; the same bytes
//! from the same sources. It never signs, nor sends anything anywhere.

mod check;
mod deb;
mod image;
mod tree;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::output_of;
use crate::setup::Containers;
use crate::{build, workspace};
use tree::{Tree, gzip};

/// The version of all that is made.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Texts that go with the binary, by their paths in the workspace.
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
const UNIT: &str = "deploy/systemd/tracer.service";

/// The shells that completions are for, by their names in `tracer completions`, with the names that the
/// shells look for.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "tracer"),
    ("fish", "tracer.fish"),
    ("zsh", "_tracer"),
];

/// What tells one build from another, beside the binary.
#[derive(Clone, Debug)]
struct Stamp {
    /// When the sources were last changed, in seconds since 1970.
    seconds: u64,
    /// The commit, if all of it is one.
    revision: Option<String>,
}

impl Stamp {
    /// `SOURCE_DATE_EPOCH` where it is set (<https://reproducible-builds.org/specs/source-date-epoch/>),
    /// else the time of the last commit.
    fn of_sources() -> Result<Self> {
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            let said = output_of(git.current_dir(workspace::root()).args(words))?;
            anyhow::Ok(said.trim().to_owned())
        };
        let seconds = match env::var("SOURCE_DATE_EPOCH") {
            Ok(given) => given,
            Err(_) => git(&["log", "-1", "--format=%ct"]).context(
                "the time of the sources is not known: set SOURCE_DATE_EPOCH to it, in seconds since 1970",
            )?,
        };
        let seconds = seconds.parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH is {seconds:?}, and not a number of seconds since 1970")
        })?;
        let is_clean = git(&["status", "--porcelain"]).is_ok_and(|changes| changes.is_empty());
        let revision = git(&["rev-parse", "HEAD"]).ok().filter(|_| is_clean);
        Ok(Self { seconds, revision })
    }
}

/// What all forms hold.
struct Parts {
    tracer: Vec<u8>,
    /// Manual pages by name, and completions by shell.
    manual: Vec<(String, Vec<u8>)>,
    completions: Vec<(&'static str, Vec<u8>)>,
}

impl Parts {
    /// The binary, and what it tells of itself.
    fn of(tracer: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        output_of(Command::new(tracer).arg("man").arg(folder.path()))?;
        let mut manual = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            manual.push((name, fs::read(entry.path())?));
        }
        let script = |(shell, _)| {
            let script = output_of(Command::new(tracer).args(["completions", shell]))?;
            anyhow::Ok((shell, script.into_bytes()))
        };
        Ok(Self {
            tracer: fs::read(tracer)
                .with_context(|| format!("cannot read {}", tracer.display()))?,
            manual,
            completions: SHELLS.into_iter().map(script).collect::<Result<_>>()?,
        })
    }
}

/// Files that were made.
struct Made {
    image: PathBuf,
    tarball: PathBuf,
    package: PathBuf,
}

/// Builds the binary and makes everything of it, in `dist` of the target folder; says how large each is.
pub fn run() -> Result<()> {
    let tracer = build::tracer()?;
    let folder = workspace::target().join("dist");
    let made = make(&Parts::of(&tracer)?, &Stamp::of_sources()?, &folder)?;
    for path in [&made.image, &made.tarball, &made.package] {
        let bytes = fs::metadata(path)?.len();
        eprintln!("       ok {}: {:.1} MB", path.display(), bytes as f64 / 1e6);
    }
    Ok(())
}

/// Makes the image alone, and unpacks it as a runtime wants it (see [`image::bundle`]).
pub fn bundle_of_image(tracer: &Path, containers: &Containers, folder: &Path) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let image = image::archive(&Parts::of(tracer)?, &Stamp::of_sources()?)?;
    fs::write(file.path(), image)?;
    image::bundle(file.path(), containers, folder)
}

/// Makes everything, and once more; holds that both are the same, and that others can read it.
pub fn test() -> Result<()> {
    let tracer = build::tracer()?;
    let stamp = Stamp::of_sources()?;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let made = make(&Parts::of(&tracer)?, &stamp, folders[0].path())?;
    let again = make(&Parts::of(&tracer)?, &stamp, folders[1].path())?;
    for (first, second) in [
        (&made.image, &again.image),
        (&made.tarball, &again.tarball),
        (&made.package, &again.package),
    ] {
        ensure!(
            fs::read(first)? == fs::read(second)?,
            "{} differs when it is made again",
            first.display()
        );
    }
    check::all(&made, &stamp)
}

fn make(parts: &Parts, stamp: &Stamp, folder: &Path) -> Result<Made> {
    fs::create_dir_all(folder)?;
    let store = |name: String, content: Vec<u8>| {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path)
    };
    Ok(Made {
        image: store(
            format!("tracer-{VERSION}-amd64.oci.tar"),
            image::archive(parts, stamp)?,
        )?,
        tarball: store(
            format!("tracer-{VERSION}-x86_64-linux.tar.gz"),
            tarball(parts, stamp)?,
        )?,
        package: deb::package(parts, stamp, folder)?,
    })
}

/// The binary with what belongs to it, in one folder.
fn tarball(parts: &Parts, stamp: &Stamp) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    let top = format!("tracer-{VERSION}-x86_64-linux");
    let at = |name: &str| format!("{top}/{name}");
    tree.file(&at("tracer"), 0o755, parts.tracer.clone());
    for (name, page) in &parts.manual {
        tree.file(&at(&format!("man/{name}")), 0o644, page.clone());
    }
    for (shell, name) in SHELLS {
        let script = parts.completion(shell);
        tree.file(&at(&format!("completions/{name}")), 0o644, script);
    }
    tree.file(&at("systemd/tracer.service"), 0o644, source(UNIT)?);
    for name in LICENSES.iter().chain(&["README.md", "CHANGELOG.md"]) {
        tree.file(&at(name), 0o644, source(name)?);
    }
    gzip(&tree.tar(stamp.seconds)?)
}

impl Parts {
    fn completion(&self, shell: &str) -> Vec<u8> {
        let found = self.completions.iter().find(|(name, _)| *name == shell);
        found.map(|(_, script)| script.clone()).unwrap_or_default()
    }
}

/// A file of the workspace.
fn source(name: &str) -> Result<Vec<u8>> {
    fs::read(workspace::root().join(name)).with_context(|| format!("cannot read {name}"))
}
