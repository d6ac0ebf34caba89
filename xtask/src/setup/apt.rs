//! Installs packages of the distribution by apt, and unpacks other suites' packages without
//! installing them; it never touches apt's own configuration, nor what apt verifies.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::command::output_of;

/// The suites that hold kernels, and whether they are part of the security archive.
const SUITES: [(&str, bool); 7] = [
    ("bullseye", false),
    ("bullseye-security", true),
    ("bookworm", false),
    ("bookworm-security", true),
    ("trixie", false),
    ("trixie-security", true),
    ("trixie-backports", false),
];

/// The keys that sign all suites above; without this file apt falls back on its own trusted keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How old the private package lists may be before they are fetched again.
const LISTS_KEPT: Duration = Duration::from_hours(24);

/// Installs `packages` on this machine. Fails without root, naming the command to run instead.
pub fn install(packages: &[&str]) -> Result<()> {
    if !is_root()? {
        bail!(
            "installing needs root; run this, then try again: sudo apt-get install \
             --no-install-recommends {}",
            packages.join(" ")
        );
    }
    let mut install = Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Another package manager may be at work; it is waited for.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages);
    if output_of(&mut install).is_ok() {
        return Ok(());
    }
    // The lists may be missing or name versions that the mirror no longer holds.
    output_of(Command::new("apt-get").args(["update", "--quiet"]))?;
    output_of(&mut install).map(drop)
}

/// Packages of all of [`SUITES`], kept in a folder apart from the machine's own apt state.
pub struct PrivateSuites {
    folder: PathBuf,
}

impl PrivateSuites {
    /// Opens the private state in `folder`, fetching the package lists where they are missing or
    /// old. Fails when this machine has no Debian mirror configured.
    pub fn open(folder: &Path) -> Result<Self> {
        for name in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(name))
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(folder.join("sources.list"), sources_list(&mirrors()?))?;
        let suites = Self {
            folder: folder.to_owned(),
        };
        suites.update_if_old()?;
        Ok(suites)
    }

    /// The names of all packages that match the regular expression `pattern`.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let mut search = self.tool("apt-cache");
        let found = output_of(search.args(["search", "--names-only", pattern]))?;
        Ok(found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect())
    }

    /// Downloads `packages` and unpacks them into `into`, without installing them.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let downloads = tempfile::tempdir_in(&self.folder)?;
        let mut download = self.tool("apt-get");
        output_of(
            download
                .arg("download")
                .args(packages)
                .current_dir(&downloads),
        )?;
        unpack_all(downloads.path(), into)
    }

    /// Downloads `packages` of one suite with all that they depend on, and unpacks them into `into` as
    /// the root of a file system, without installing them: no script of theirs runs.
    pub fn unpack_root(&self, suite: &str, packages: &[&str], into: &Path) -> Result<()> {
        let cache = tempfile::tempdir_in(&self.folder)?;
        fs::create_dir_all(cache.path().join("archives/partial"))?;
        // To a machine on which nothing is installed, everything is a dependency.
        let installed = cache.path().join("status");
        fs::write(&installed, "")?;
        let mut download = self.tool("apt-get");
        download
            .args(["-o", &format!("Dir::Cache={}", cache.path().display())])
            .args(["-o", &format!("Dir::State::Status={}", installed.display())])
            .args(["-o", &format!("APT::Default-Release={suite}")])
            .args(["install", "--download-only", "--yes", "--quiet"])
            .arg("--no-install-recommends")
            .args(packages);
        output_of(&mut download)?;
        // Packages put files below both names; on an installed system one is a link to the other.
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(into.join("usr").join(name))?;
            symlink(format!("usr/{name}"), into.join(name))?;
        }
        unpack_all(&cache.path().join("archives"), into)
    }

    /// A suite that the mirror dropped must not hide the others: apt's failure counts only when
    /// no list at all came of it.
    fn update_if_old(&self) -> Result<()> {
        let stamp = self.folder.join("updated");
        let age = fs::metadata(&stamp).and_then(|file| file.modified()).ok();
        let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age < LISTS_KEPT) {
            return Ok(());
        }
        let updated = output_of(self.tool("apt-get").args(["update", "--quiet"]));
        if self.names("^linux-image-")?.is_empty() {
            updated.context("cannot fetch the lists of Debian's kernels")?;
        }
        fs::write(stamp, "")?;
        Ok(())
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        let folder = self.folder.display();
        for option in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}"),
            "APT::Architecture=amd64".to_owned(),
            // The download folder belongs to this user, not to apt's.
            "APT::Sandbox::User=root".to_owned(),
            // Neither translations nor the catalogue of applications is of use here.
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Unpacks the packages in `folder`.
fn unpack_all(folder: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|end| end == "deb") {
            unpack_over_links(&package, into)?;
        }
    }
    Ok(())
}

/// As `dpkg -x`, which would put a folder where a link to one is.
fn unpack_over_links(package: &Path, into: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let archive = dpkg
        .stdout
        .take()
        .context("a child without the pipe that was asked for")?;
    let unpacked = Command::new("tar")
        .args(["-x", "--keep-directory-symlink", "-C"])
        .arg(into)
        .stdin(archive)
        .status()
        .context("cannot start tar")?;
    if !dpkg.wait()?.success() || !unpacked.success() {
        bail!("cannot unpack {}", package.display());
    }
    Ok(())
}

/// Whether apt knows a package of this name that could be installed.
pub fn is_available(package: &str) -> bool {
    output_of(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|policy| policy.contains("Candidate:") && !policy.contains("Candidate: (none)"))
}

/// The addresses that this machine's apt uses.
struct Mirrors {
    main: String,
    security: Option<String>,
}

fn mirrors() -> Result<Mirrors> {
    let format = "$(SITE) $(RELEASE)";
    let targets = output_of(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    parse_mirrors(&targets).context(
        "apt on this machine has no Debian suite in its sources, so it cannot fetch Debian's \
         kernels; add one, or run this on Debian",
    )
}

fn parse_mirrors(targets: &str) -> Option<Mirrors> {
    let known = |release: &str| SUITES.iter().find(|(suite, _)| *suite == release);
    let site_of = |security: bool| {
        targets.lines().find_map(|line| {
            let (site, release) = line.split_once(' ')?;
            let (_, is_security) = known(release)?;
            (*is_security == security).then(|| site.to_owned())
        })
    };
    Some(Mirrors {
        main: site_of(false)?,
        security: site_of(true),
    })
}

fn sources_list(mirrors: &Mirrors) -> String {
    let signed = if Path::new(KEYRING).is_file() {
        format!(" signed-by={KEYRING}")
    } else {
        String::new()
    };
    let lines = SUITES.iter().filter_map(|(suite, is_security)| {
        let site = if *is_security {
            mirrors.security.as_ref()?
        } else {
            &mirrors.main
        };
        Some(format!("deb [arch=amd64{signed}] {site} {suite} main\n"))
    });
    lines.collect::<Vec<_>>().concat()
}

fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("cannot read /proc/self; is /proc mounted?")?;
    Ok(own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirrors_are_those_of_known_suites() {
        let targets = "http://other nodistro\nhttp://main bookworm\nhttp://main bookworm-updates\n\
                       http://safe bookworm-security\n";
        let mirrors = parse_mirrors(targets).unwrap();
        assert_eq!(mirrors.main, "http://main");
        assert_eq!(mirrors.security.as_deref(), Some("http://safe"));
        assert!(parse_mirrors("http://other nodistro\n").is_none());
    }

    #[test]
    fn without_a_security_mirror_its_suites_are_left_out() {
        let mirrors = Mirrors {
            main: "http://main".to_owned(),
            security: None,
        };
        let list = sources_list(&mirrors);
        assert!(
            list.contains("http://main trixie-backports main\n"),
            "{list}"
        );
        assert!(!list.contains("security"), "{list}");
    }
}
