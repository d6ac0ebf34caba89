//! Keeps two runs from installing at the same time; it never blocks runs that only look.

use std::fs::{self, File};

use anyhow::{Context, Result};

use crate::bpf::cache_dir;

/// Held while something is installed; given back when dropped, or by the kernel when we die.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other run installs. Fails when the cache folder cannot be written.
    pub fn take() -> Result<Self> {
        let folder = cache_dir();
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
        let path = folder.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("      ... waiting for another run of the set-up to end");
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { _file: file })
    }
}
