//! Picks from a kernel's packages the modules that a virtual machine loads, and sorts them so that
//! each comes after those it depends on; it never loads one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the guest needs to reach its ports and its shared folder, and what the tests use: each
/// costs a tenth of a second at every boot. Those that a kernel has built in are passed over.
const WANTED: [&str; 8] = [
    "virtio_pci",
    "virtio_console",
    "virtiofs",
    "overlay",
    "inet_diag",
    "tcp_diag",
    "veth",
    "dummy",
];

/// Copies the wanted modules below `from`, and all that they depend on, into the new folder `to`,
/// unpacked, and named so that the order of names is the order to load them in.
pub fn collect(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut available = BTreeMap::new();
    index(from, &mut available)?;
    let mut chosen = Chosen {
        available: &available,
        loaded: Vec::new(),
    };
    for name in WANTED {
        chosen.add(name)?;
    }
    for (position, (name, content)) in chosen.loaded.iter().enumerate() {
        fs::write(to.join(format!("{position:02}-{name}.ko")), content)?;
    }
    Ok(())
}

/// The modules taken so far, in order of loading.
struct Chosen<'a> {
    available: &'a BTreeMap<String, PathBuf>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Chosen<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.loaded.iter().any(|(loaded, _)| loaded == name) {
            return Ok(());
        }
        let Some(path) = self.available.get(name) else {
            return Ok(());
        };
        let content = unpacked(path)?;
        for dependency in dependencies(&content) {
            self.add(&dependency)?;
        }
        self.loaded.push((name.to_owned(), content));
        Ok(())
    }
}

/// Maps the names of all modules below `folder` to their files.
fn index(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            index(&entry.path(), modules)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            modules.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let extension = path.extension().unwrap_or_default();
    if extension == "ko" {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    // BusyBox is installed for the guest anyway and unpacks what kernels use.
    let applet = match extension.to_str() {
        Some("xz") => "xzcat",
        Some("gz") => "zcat",
        _ => bail!(
            "{} is packed in a way that is not known here",
            path.display()
        ),
    };
    let output = Command::new(super::busybox()?)
        .arg(applet)
        .arg(path)
        .output()
        .with_context(|| format!("cannot run busybox {applet}"))?;
    if !output.status.success() {
        bail!("busybox {applet} cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// The names in the field `depends=` of a module's information section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(start) = module.windows(FIELD.len()).position(|bytes| bytes == FIELD) else {
        return Vec::new();
    };
    let value = module[start + FIELD.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_those_it_depends_on() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let folder = from.path().join("kernel/net");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("tcp_diag.ko"),
            b"ELF\0depends=inet_diag\0name=tcp_diag\0",
        )
        .unwrap();
        fs::write(
            folder.join("inet_diag.ko"),
            b"ELF\0depends=\0name=inet_diag\0",
        )
        .unwrap();
        fs::write(folder.join("unwanted.ko"), b"ELF\0depends=\0").unwrap();
        collect(from.path(), to.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(to.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["00-inet_diag.ko", "01-tcp_diag.ko"]);
    }
}
