//! Fetches Debian's cloud kernels, by version prefix, into the cache: the image and those modules
//! that the virtual machine loads; it never installs a kernel on this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::PrivateSuites;
use super::image;
use super::lock::Lock;
use super::modules;
use crate::bpf::cache_dir;
use crate::progress::Progress;

/// The kernels that tracer is tested on: the oldest still maintained, two stable releases of
/// Debian, and the newest there is.
pub const MATRIX: [&str; 4] = ["5.10", "6.1", "6.12", "7"];

/// The end of the names of the packages: kernels without drivers for real hardware.
const FLAVOUR: &str = "-cloud-amd64";

/// The packages that a kernel may be split into.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// The names of a kernel's image in the cache, unpacked and as it was.
const IMAGE: &str = "vmlinux";
const PACKED: &str = "vmlinuz";

/// A kernel in the cache, ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `uname -r` says in it, such as `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// The image, unpacked: the emulator boots it seconds sooner. It writes it into the guest's memory
    /// whenever the machine is reset, and so when it wakes up, over the kernel that had been suspended.
    pub image: PathBuf,
    /// The image as it was packed, which the guest unpacks once.
    pub packed: PathBuf,
    /// The modules, in the order to load them in.
    pub modules: Vec<PathBuf>,
}

impl Kernel {
    /// The newest kernel whose version begins with `prefix`, such as `6.1` or `7`. What was found
    /// once for a prefix is kept, so that runs can be compared. Fails when the packages hold none.
    pub fn with_prefix(prefix: &str) -> Result<Self> {
        if numbers(prefix).is_empty() {
            bail!("`{prefix}` is no kernel version; give its first numbers, such as 6.1");
        }
        if let Some(kernel) = Self::cached(prefix)? {
            return Ok(kernel);
        }
        let _lock = Lock::take()?;
        // Another run may have fetched it while this one waited for the lock.
        match Self::cached(prefix)? {
            Some(kernel) => Ok(kernel),
            None => fetch(prefix),
        }
    }

    fn cached(prefix: &str) -> Result<Option<Self>> {
        let Ok(folder) = fs::canonicalize(by_prefix(prefix)) else {
            return Ok(None);
        };
        if !is_whole(&folder) {
            return Ok(None);
        }
        let release = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let mut modules = Vec::new();
        for entry in fs::read_dir(folder.join("modules"))? {
            modules.push(entry?.path());
        }
        modules.sort();
        let release = release.context("a kernel's folder in the cache has no name")?;
        Ok(Some(Self {
            release,
            image: folder.join(IMAGE),
            packed: folder.join(PACKED),
            modules,
        }))
    }
}

fn fetch(prefix: &str) -> Result<Kernel> {
    let progress = Progress::start(format!("kernel {prefix}"), "tracer is tested on it in a VM");
    let suites = PrivateSuites::open(&cache_dir().join("apt"))?;
    let names = suites.names(&format!("^linux-(image|binary|modules)-[0-9].*{FLAVOUR}$"))?;
    let release = newest(&names, prefix).with_context(|| {
        format!(
            "Debian's packages hold no kernel {prefix}; there are {}",
            versions(&names)
        )
    })?;
    let packages: Vec<String> = PARTS
        .iter()
        .map(|part| format!("{part}{release}"))
        .filter(|package| names.contains(package))
        .collect();
    let kernels = cache_dir().join("kernels");
    fs::create_dir_all(&kernels)?;
    // Another prefix may have led to it already, and a machine may be running on it.
    let folder = kernels.join(&release);
    if !is_whole(&folder) {
        let unpacked = tempfile::tempdir_in(&kernels)?;
        suites.unpack(&packages, unpacked.path())?;
        if folder.exists() {
            // What an earlier version had kept of it.
            fs::remove_dir_all(&folder)?;
        }
        store(unpacked.path(), &folder)?;
    }
    point(&by_prefix(prefix), &release)?;
    progress.done(&release);
    Kernel::cached(prefix)?.context("the kernel that was just unpacked is not in the cache")
}

/// Whether a kernel's folder in the cache has all that is kept.
fn is_whole(folder: &Path) -> bool {
    folder.join(PACKED).exists()
}

/// Keeps what a VM needs of the packages unpacked in `from`.
fn store(from: &Path, to: &Path) -> Result<()> {
    let image = find(from, &|name| name.starts_with("vmlinuz"))
        .context("the kernel's packages hold no vmlinuz: Debian must have split them anew")?;
    let new = tempfile::tempdir_in(from)?;
    fs::copy(&image, new.path().join(PACKED))?;
    fs::write(new.path().join(IMAGE), image::unpacked(fs::read(image)?)?)?;
    modules::collect(from, &new.path().join("modules"))?;
    // Renamed as the last step, so that a kernel in the cache is always whole.
    fs::rename(new.path(), to).with_context(|| format!("cannot store {}", to.display()))
}

/// The first file below `folder` whose name `wanted` accepts.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.filter_map(Result::ok).collect();
    entries.iter().find_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            find(&entry.path(), wanted)
        } else {
            (kind.is_file() && wanted(&entry.file_name().to_string_lossy())).then(|| entry.path())
        }
    })
}

fn by_prefix(prefix: &str) -> PathBuf {
    cache_dir().join("kernels").join(format!("newest-{prefix}"))
}

/// Points `link` to `release`, also where it points to something else.
fn point(link: &Path, release: &str) -> Result<()> {
    if fs::symlink_metadata(link).is_ok() {
        fs::remove_file(link).with_context(|| format!("cannot replace {}", link.display()))?;
    }
    symlink(release, link).with_context(|| format!("cannot create {}", link.display()))
}

/// The newest release with `prefix` among package names.
fn newest(names: &[String], prefix: &str) -> Option<String> {
    let wanted = numbers(prefix);
    releases(names)
        .filter(|release| numbers(release).starts_with(&wanted))
        .max_by_key(|release| numbers(release))
        .map(|release| format!("{release}{FLAVOUR}"))
}

/// The releases among package names, without the flavour. Packages that only depend on the newest
/// kernel of a series carry two numbers and are no releases.
fn releases(names: &[String]) -> impl Iterator<Item = &str> {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(PARTS[0])?.strip_suffix(FLAVOUR))
        .filter(|release| numbers(release).len() > 2)
}

/// The series on offer, for an error's sake.
fn versions(names: &[String]) -> String {
    let mut series: Vec<Vec<u64>> = releases(names)
        .map(|release| numbers(release).into_iter().take(2).collect())
        .collect();
    series.sort();
    series.dedup();
    let shown = series.iter().map(|pair| format!("{}.{}", pair[0], pair[1]));
    shown.collect::<Vec<_>>().join(", ")
}

/// All numbers in a version, in order: what versions are compared by.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-7.0.4+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn the_newest_release_of_a_prefix_is_taken() {
        let newest = |prefix| newest(&names(), prefix);
        assert_eq!(newest("6.1").as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(
            newest("6.12").as_deref(),
            Some("6.12.117+deb13-cloud-amd64")
        );
        assert_eq!(newest("7").as_deref(), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest("7.0").as_deref(), Some("7.0.4+deb13-cloud-amd64"));
        assert_eq!(newest("4.19"), None);
    }

    #[test]
    fn an_error_can_list_what_there_is() {
        assert_eq!(versions(&names()), "6.1, 6.12, 7.0, 7.3");
    }
}
