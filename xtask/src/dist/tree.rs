//! A tree of files in memory, and the archive of it: sorted, all of one time and of root's, so that the
//! same files make the same bytes; it never reads a file.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// Files and folders by their paths, which begin without a slash.
#[derive(Default)]
pub struct Tree(BTreeMap<String, Entry>);

struct Entry {
    mode: u32,
    /// Nothing for a folder.
    content: Option<Vec<u8>>,
}

impl Tree {
    /// Adds a folder; those above it as well, where they are missing.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.folders_above(path);
        let entry = Entry {
            mode,
            content: None,
        };
        self.0.insert(path.to_owned(), entry);
    }

    /// Adds a file, and the folders above it where they are missing.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.folders_above(path);
        let entry = Entry {
            mode,
            content: Some(content),
        };
        self.0.insert(path.to_owned(), entry);
    }

    fn folders_above(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let entry = Entry {
                mode: 0o755,
                content: None,
            };
            self.0.entry(path[..at].to_owned()).or_insert(entry);
        }
    }

    /// The sum of the files' sizes in bytes.
    pub fn bytes(&self) -> usize {
        let sizes = self.0.values().flat_map(|entry| &entry.content);
        sizes.map(Vec::len).sum()
    }

    /// The archive; `seconds` is the time of everything in it, since 1970.
    pub fn tar(&self, seconds: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let content = entry.content.as_deref().unwrap_or_default();
            let mut header = Header::new_ustar();
            header.set_entry_type(match entry.content {
                Some(_) => EntryType::Regular,
                None => EntryType::Directory,
            });
            header.set_mode(entry.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(seconds);
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, content)
                .with_context(|| format!("cannot archive {path}"))?;
        }
        Ok(archive.into_inner()?)
    }

    /// Writes everything below a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, entry) in &self.0 {
            let at = folder.join(path);
            match &entry.content {
                Some(content) => fs::write(&at, content),
                None => fs::create_dir_all(&at),
            }
            .and_then(|()| fs::set_permissions(&at, Permissions::from_mode(entry.mode)))
            .with_context(|| format!("cannot write {}", at.display()))?;
        }
        Ok(())
    }
}

/// Packed by gzip, without a name or a time.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    Ok(packer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_sorted_and_has_the_folders_above() {
        let mut tree = Tree::default();
        tree.file("usr/bin/b", 0o755, b"two".to_vec());
        tree.folder("tmp", 0o1777);
        tree.file("usr/bin/a", 0o644, b"one".to_vec());
        let bytes = tree.tar(1_700_000_000).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let told: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(header.mtime().unwrap(), 1_700_000_000);
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.size().unwrap())
            })
            .collect();
        let wanted = [
            ("tmp", 0o1777, 0),
            ("usr", 0o755, 0),
            ("usr/bin", 0o755, 0),
            ("usr/bin/a", 0o644, 3),
            ("usr/bin/b", 0o755, 3),
        ];
        assert_eq!(
            told,
            wanted.map(|(path, mode, size)| (path.to_owned(), mode, size))
        );
        assert_eq!(gzip(&bytes).unwrap(), gzip(&bytes).unwrap());
    }
}
