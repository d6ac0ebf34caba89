//! Programs that run many short-lived children; they never leave one running.

use std::{
    env,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use super::{files::Folder, stage::Stage};

/// A script that runs many short programs.
#[derive(Args)]
pub struct Spawn {
    /// How many
    #[arg(long)]
    count: u32,
    /// From the end of one to the begin of the next
    #[arg(long, value_name = "MS", default_value_t = 0)]
    period_ms: u64,
    /// Where the children's programs are to be
    #[arg(long)]
    dir: PathBuf,
    /// The children's name
    #[arg(long, default_value = "probe")]
    name: String,
    /// Give each child a name of its own, with its number
    #[arg(long)]
    numbered: bool,
    /// What the children are to do, as a part of this program
    #[arg(last = true, required = true)]
    part: Vec<String>,
}

impl Spawn {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let _folder = Folder::with_files(&self.dir, 0, "")?;
        let own = env::current_exe()?;
        // The kernel takes a process's name from the file that is executed.
        let program = |number: u32| {
            let name = if self.numbered {
                format!("{}-{number}", self.name)
            } else {
                self.name.clone()
            };
            self.dir.join(name)
        };
        for number in 0..if self.numbered { self.count } else { 1 } {
            symlink(&own, program(number))?;
        }
        stage.ready()?;
        let mut pids = Vec::new();
        for number in 0..self.count {
            if number > 0 {
                thread::sleep(Duration::from_millis(self.period_ms));
            }
            pids.push(run(&program(number), &self.part)?);
        }
        stage.done(json!({ "pids": pids }))
    }
}

/// Runs a program to its good end and gives the pid that it had.
fn run(program: &Path, words: &[String]) -> Result<u32> {
    let mut child = Command::new(program)
        .arg0(program)
        .args(words)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let status = child.wait()?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        program.display()
    );
    Ok(child.id())
}

/// A build that runs many compilers.
#[derive(Args)]
pub struct Compile {
    /// How many compilers, one after the other
    #[arg(long)]
    children: u32,
    /// How many headers each opens and closes
    #[arg(long)]
    files: u64,
}

impl Compile {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let own = env::current_exe()?;
        let files = self.files.to_string();
        let words = ["storm", "--opens", &files].map(str::to_owned);
        for _ in 0..self.children {
            run(&own, &words)?;
        }
        stage.done(json!({}))
    }
}
