//! Writes the archive format that the kernel unpacks its first root file system from; it never
//! reads one.

use std::fs;
use std::io::{Result, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Entries, names and contents alike, start at multiples of this many bytes.
const ALIGNMENT: usize = 4;

/// An archive in the "newc" format, written as entries are added.
pub struct Archive<W: Write> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// Starts an empty archive.
    pub fn new(to: W) -> Self {
        Self { to, entries: 0 }
    }

    /// Adds a folder that everyone may read.
    pub fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name.as_bytes(), DIRECTORY | 0o755, &[])
    }

    /// Adds a file with its permission bits.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.entry(name.as_bytes(), FILE | permissions, content)
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name.as_bytes(), LINK | 0o777, target.as_bytes())
    }

    /// Adds what is in the folder `from`, under `name`. Sockets and devices are passed over.
    pub fn tree(&mut self, name: &str, from: &Path) -> Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let path = entry.path();
            let inside = [name.as_bytes(), b"/", entry.file_name().as_bytes()].concat();
            let metadata = fs::symlink_metadata(&path)?;
            let permissions = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.entry(&inside, DIRECTORY | permissions, &[])?;
                self.tree(&String::from_utf8_lossy(&inside), &path)?;
            } else if metadata.is_symlink() {
                self.entry(
                    &inside,
                    LINK | 0o777,
                    fs::read_link(&path)?.as_os_str().as_bytes(),
                )?;
            } else if metadata.is_file() {
                self.entry(&inside, FILE | permissions, &fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    /// Writes the end mark and gives the writer back.
    pub fn finish(mut self) -> Result<W> {
        self.entry(b"TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &[u8], mode: u32, content: &[u8]) -> Result<()> {
        const LINKS: u32 = 1;
        // Owner, group, time and devices stay 0: all in the guest is root's.
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(std::io::Error::other)?;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            LINKS,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ]
        .map(|field| format!("{field:08x}"));
        let header = format!("070701{}", fields.concat());
        self.to.write_all(header.as_bytes())?;
        self.to.write_all(name)?;
        self.to.write_all(b"\0")?;
        self.pad(header.len() + name.len() + 1)?;
        self.to.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, length: usize) -> Result<()> {
        let missing = length.next_multiple_of(ALIGNMENT) - length;
        self.to.write_all(&[0; ALIGNMENT][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_form_that_the_kernel_reads() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let header = b"070701000000010000\
                       81a4000000000000000000000001000000000000000500000000\
                       0000000000000000000000000000000200000000";
        assert_eq!(&bytes[..110], header);
        assert_eq!(&bytes[110..120], b"a\0hello\0\0\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % ALIGNMENT, 0);
    }
}
