//! Makes the archive that the guest starts from: BusyBox, the modules, the first process, the
//! command and the folder; it never holds anything of an earlier run.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::{Root, Vm};
use crate::command::output_of;
use crate::setup::{self, Kernel};

/// The first process.
const GUEST: &[u8] = include_bytes!("guest.sh");

/// The folders of a root file system that programs expect.
const FOLDERS: [&str; 19] = [
    ".vm",
    ".vm/bin",
    ".vm/modules",
    "bin",
    "dev",
    "etc",
    "home",
    "mnt",
    "out",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/sbin",
    "work",
];

/// Small files that resolve names and users without a network.
const FILES: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    (
        "etc/hosts",
        "127.0.0.1 localhost tracer-vm\n::1 localhost\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// Writes the archive for one run to `path`. `mark` is what ends each of the guest's streams.
pub fn write(path: &Path, vm: &Vm, kernel: &Kernel, command: &[String], mark: &str) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    for (name, content) in FILES {
        archive.file(name, 0o644, content.as_bytes())?;
    }
    add_busybox(&mut archive)?;
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!(".vm/modules/{name}"), 0o644, &fs::read(module)?)?;
    }
    archive.file(".vm/init", 0o755, GUEST)?;
    // switch_root leaves only a root file system that has this name.
    archive.link("init", "/.vm/init")?;
    archive.file(".vm/settings", 0o644, settings(vm, mark).as_bytes())?;
    archive.file(".vm/command", 0o644, script(command).as_bytes())?;
    if let Some(folder) = &vm.folder {
        archive
            .tree("work", folder)
            .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    }
    archive.finish()?;
    Ok(())
}

/// BusyBox itself, and a link for each of its programs: once where programs are expected, and once
/// in a folder of the first process's own, which a host's root has not.
fn add_busybox<W: std::io::Write>(archive: &mut Archive<W>) -> Result<()> {
    let busybox = setup::busybox()?;
    archive.file(".vm/busybox", 0o755, &fs::read(&busybox)?)?;
    let paths = output_of(Command::new(&busybox).arg("--list-full"))?;
    for path in paths.lines() {
        archive.link(path, "/.vm/busybox")?;
        let name = path.rsplit('/').next().unwrap_or(path);
        archive.link(&format!(".vm/bin/{name}"), "/.vm/busybox")?;
    }
    Ok(())
}

/// The variables that the first process reads.
fn settings(vm: &Vm, mark: &str) -> String {
    let root = match vm.root {
        Root::Busybox => "busybox",
        Root::Host => "host",
    };
    let tracefs = if vm.tracefs { "yes" } else { "" };
    format!("VM_MARK={mark}\nVM_ROOT={root}\nVM_TRACEFS={tracefs}\n")
}

/// The command as a script of the shell.
fn script(command: &[String]) -> String {
    match command {
        [line] => format!("{line}\n"),
        words => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            format!("exec {}\n", quoted.join(" "))
        }
    }
}

/// A word that the shell reads as it is.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_words_are_a_program_and_its_arguments() {
        let words = ["echo", "it's", "$HOME"].map(str::to_owned);
        assert_eq!(script(&words), "exec 'echo' 'it'\\''s' '$HOME'\n");
    }

    #[test]
    fn one_word_is_a_line_for_the_shell() {
        assert_eq!(script(&["echo $HOME | wc".to_owned()]), "echo $HOME | wc\n");
    }
}
