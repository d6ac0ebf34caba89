//! The file that says that every hook is attached, so that scripts wait for it instead of sleeping;
//! never left behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The file while tracer watches; removed when dropped.
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Creates the file with tracer's pid in it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        // Under another name first: whoever sees the file finds it written.
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, format!("{}\n", std::process::id()))
            .and_then(|()| fs::rename(&unfinished, path))
            .with_context(|| format!("cannot create the ready file {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Someone else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}
