//! Holds what was made against those who read it: umoci the image, dpkg-deb the package, tar the
//! tarball; it never installs anything.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::image::bundle;
use super::{Made, Stamp, VERSION};
use crate::command::output_of;
use crate::setup;

/// The largest that an image may be, in bytes: nodes pull it again and again.
const IMAGE_MAX: u64 = 10 << 20;

/// Checks everything that was made.
pub fn all(made: &Made, stamp: &Stamp) -> Result<()> {
    image(&made.image).with_context(|| made.image.display().to_string())?;
    tarball(&made.tarball).with_context(|| made.tarball.display().to_string())?;
    package(&made.package, stamp).with_context(|| made.package.display().to_string())
}

/// It can be unpacked by another program, runs its service by default, and is small.
fn image(path: &Path) -> Result<()> {
    let bytes = std::fs::metadata(path)?.len();
    ensure!(
        bytes <= IMAGE_MAX,
        "it has {bytes} bytes, and so is no longer small"
    );
    let folder = tempfile::tempdir()?;
    let unpacked = folder.path().join("bundle");
    bundle(path, &setup::containers()?, &unpacked)?;
    says_its_version(&unpacked.join("rootfs/usr/bin/tracer"))?;
    let config = std::fs::read_to_string(unpacked.join("config.json"))?;
    let config: Value = serde_json::from_str(&config)?;
    let is = |pointer: &str, wanted: Value| {
        let got = config.pointer(pointer).unwrap_or(&Value::Null);
        ensure!(
            *got == wanted,
            "{pointer} of its container is {got}, and not {wanted}"
        );
        Ok(())
    };
    is("/process/args", json!(["/usr/bin/tracer", "serve"]))?;
    is("/process/user/uid", json!(0))?;
    is(
        "/annotations/org.opencontainers.image.version",
        json!(VERSION),
    )?;
    is(
        "/annotations/org.opencontainers.image.licenses",
        json!("MIT OR Apache-2.0"),
    )
}

fn tarball(path: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut unpack = Command::new("tar");
    output_of(unpack.arg("-xzf").arg(path).arg("-C").arg(folder.path()))?;
    let top = folder.path().join(format!("tracer-{VERSION}-x86_64-linux"));
    has(
        &top,
        &[
            "README.md",
            "LICENSE-MIT",
            "systemd/tracer.service",
            "completions/_tracer",
        ],
    )?;
    has(&top, &["man/tracer.1", "man/tracer-serve.1"])?;
    says_its_version(&top.join("tracer"))
}

fn package(path: &Path, stamp: &Stamp) -> Result<()> {
    let mut fields = Command::new("dpkg-deb");
    fields
        .arg("--field")
        .arg(path)
        .args(["Package", "Version", "Architecture"]);
    let fields = output_of(&mut fields)?;
    let wanted = format!("Package: tracer\nVersion: {VERSION}\nArchitecture: amd64\n");
    ensure!(fields == wanted, "its fields are {fields}");
    let listed = output_of(Command::new("dpkg-deb").arg("--contents").arg(path))?;
    for line in listed.lines() {
        ensure!(line.contains(" root/root "), "not root's: {line}");
    }
    let folder = tempfile::tempdir()?;
    let mut unpack = Command::new("dpkg-deb");
    output_of(unpack.arg("--raw-extract").arg(path).arg(folder.path()))?;
    let root = folder.path();
    has(
        root,
        &[
            "DEBIAN/postinst",
            "etc/default/tracer",
            "usr/share/doc/tracer/copyright",
        ],
    )?;
    has(
        root,
        &[
            "usr/lib/systemd/system/tracer.service",
            "usr/share/man/man1/tracer-watch.1.gz",
        ],
    )?;
    has(root, &["usr/share/bash-completion/completions/tracer"])?;
    for script in ["postinst", "postrm", "prerm"] {
        output_of(
            Command::new("sh")
                .arg("-n")
                .arg(root.join("DEBIAN").join(script)),
        )?;
    }
    let time = std::fs::metadata(root.join("usr/bin/tracer"))?.modified()?;
    let seconds = time.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(
        seconds == stamp.seconds,
        "its files are of {seconds}, not of {}",
        stamp.seconds
    );
    says_its_version(&root.join("usr/bin/tracer"))
}

fn has(folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        ensure!(folder.join(name).is_file(), "it has no {name}");
    }
    Ok(())
}

fn says_its_version(tracer: &Path) -> Result<()> {
    let said = output_of(Command::new(tracer).arg("--version"))?;
    ensure!(
        said == format!("tracer {VERSION}\n"),
        "its tracer says {said}"
    );
    Ok(())
}
