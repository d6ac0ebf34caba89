//! The package for Debian and Ubuntu; it never installs one.
//!
//! dpkg-deb makes it: the format's own program, which every Debian has and which makes the same bytes of
//! the same files. cargo-deb would be one more program to build in the set-up, for the sake of a
//! control file.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::tree::{Tree, gzip};
use super::{Parts, SHELLS, Stamp, UNIT, VERSION, source};
use crate::command::output_of;

/// Files of the package, beside what all forms hold.
const CONTROL: &str = include_str!("deb/control");
const COPYRIGHT: &str = include_str!("deb/copyright");
const DEFAULTS: &str = include_str!("deb/default");

/// Where the administrator's variables are; dpkg leaves changes of theirs alone.
const CONFIGURED: &str = "etc/default/tracer";

/// The scripts that dpkg runs, by their names.
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("deb/postinst")),
    ("postrm", include_str!("deb/postrm")),
    ("prerm", include_str!("deb/prerm")),
];

/// Where each shell looks for completions of packages.
fn completions_of(shell: &str) -> &'static str {
    match shell {
        "bash" => "usr/share/bash-completion/completions",
        "fish" => "usr/share/fish/vendor_completions.d",
        _ => "usr/share/zsh/vendor-completions",
    }
}

/// Makes the package in `folder`; gives its path.
pub fn package(parts: &Parts, stamp: &Stamp, folder: &Path) -> Result<PathBuf> {
    let mut tree = files(parts)?;
    let control = CONTROL
        .replace("{version}", VERSION)
        .replace("{maintainer}", &maintainer())
        .replace("{kibibytes}", &tree.bytes().div_ceil(1024).to_string());
    tree.file("DEBIAN/control", 0o644, control.into_bytes());
    let configured = format!("/{CONFIGURED}\n");
    tree.file("DEBIAN/conffiles", 0o644, configured.into_bytes());
    for (name, script) in SCRIPTS {
        tree.file(&format!("DEBIAN/{name}"), 0o755, script.into());
    }

    let root = tempfile::tempdir()?;
    tree.write(root.path())?;
    let path = folder.join(format!("tracer_{VERSION}_amd64.deb"));
    let mut build = Command::new("dpkg-deb");
    build
        .env("SOURCE_DATE_EPOCH", stamp.seconds.to_string())
        // xz is what every release in use can read; one thread, as the bytes depend on their number.
        .args(["-Zxz", "--threads-max=1", "--root-owner-group", "--build"])
        .arg(root.path())
        .arg(&path);
    output_of(&mut build)?;
    Ok(path)
}

/// What is installed.
fn files(parts: &Parts) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/bin/tracer", 0o755, parts.tracer.clone());
    for (name, page) in &parts.manual {
        let path = format!("usr/share/man/man1/{name}.gz");
        tree.file(&path, 0o644, gzip(page)?);
    }
    for (shell, name) in SHELLS {
        let path = format!("{}/{name}", completions_of(shell));
        tree.file(&path, 0o644, parts.completion(shell));
    }
    tree.file(
        "usr/lib/systemd/system/tracer.service",
        0o644,
        source(UNIT)?,
    );
    tree.file(CONFIGURED, 0o644, DEFAULTS.into());
    let document = |name: &str| format!("usr/share/doc/tracer/{name}");
    let mut copyright = COPYRIGHT.to_owned();
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let text = String::from_utf8_lossy(&source(name)?).into_owned();
        // Writing to a string cannot fail.
        let _ = write!(copyright, "\n---- {name} ----\n\n{text}");
    }
    tree.file(&document("copyright"), 0o644, copyright.into_bytes());
    tree.file(
        &document("changelog.gz"),
        0o644,
        gzip(&source("CHANGELOG.md")?)?,
    );
    for name in [
        "README.md",
        "docs/fields.md",
        "docs/serve.md",
        "docs/trace.md",
    ] {
        let path = document(&format!("{name}.gz"));
        tree.file(&path, 0o644, gzip(&source(name)?)?);
    }
    for name in ["tracer.rules.yml", "dashboard.json"] {
        let path = document(&format!("examples/prometheus/{name}"));
        let from = format!("deploy/prometheus/{name}");
        tree.file(&path, 0o644, source(&from)?);
    }
    Ok(tree)
}

/// Who makes the package, as Debian's own tools are told it (dch(1)).
fn maintainer() -> String {
    let variable = |name, other: &str| env::var(name).unwrap_or_else(|_| other.to_owned());
    let name = variable("DEBFULLNAME", "tracer");
    let address = variable("DEBEMAIL", "root@localhost");
    format!("{name} <{address}>")
}
