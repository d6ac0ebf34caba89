//! The command line as other programs tell it: manual pages and scripts for shells; never a word that
//! the help has not.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where the manual pages go.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder that there is
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl CompletionsArgs {
    /// The script.
    #[must_use]
    pub fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tracer", &mut script);
        script
    }
}

impl ManArgs {
    /// Writes a page of section 1 for tracer, and one for each of its subcommands, `tracer-watch.1` and
    /// so on.
    ///
    /// Fails where a file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        write_page(&self.folder, &command)
    }
}

/// Writes a command's page, and those below it.
fn write_page(folder: &Path, command: &Command) -> io::Result<()> {
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_page(folder, below)?;
    }
    let page = Man::new(command.clone())
        // Those of subcommands have no version of their own.
        .source(concat!("tracer ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    page.generate_to(folder)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let args = ManArgs {
            folder: folder.path().to_owned(),
        };
        args.write().unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page("tracer.1").contains("sudo tracer watch \\-\\-port 2181"));
        assert!(page("tracer-serve.1").contains("\\-\\-dump\\-dir"));
        assert!(!folder.path().join("tracer-man.1").exists());
    }

    #[test]
    fn every_shell_has_its_script() {
        for shell in Shell::value_variants() {
            let script = CompletionsArgs { shell: *shell }.script();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("flap-window"), "{shell}");
        }
    }
}
