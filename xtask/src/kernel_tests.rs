//! Runs the end-to-end tests that need a real kernel on each kernel of the matrix, in
//! virtual machines; it never runs them on this machine's own kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::run_shown;
use crate::setup::{Kernel, MATRIX};
use crate::vm::{Finished, Output, Pace, Vm};
use crate::{build, dist, setup, workspace};

/// The name that this step is chosen by.
pub const STEP: &str = "kernel";

/// The package and the test target whose binary runs in the guest, with `tracer` and the programs of
/// the package beside it.
const PACKAGE: &str = "tracer-tests";
const TARGET: &str = "kernel";

/// The programs that the tests watch.
const WORKLOAD: &str = "workload";

/// The kernel that tracer is tried in containers on: what differs between kernels, the other tests see.
const CONTAINERS_KERNEL: &str = "6.1";

/// The kernels that are suspended and woken: not the newest, whose virtio ports no longer write once they have
/// been, so that nobody would learn how the tests ended.
const SUSPENDED: [&str; 3] = ["5.10", "6.1", "6.12"];

/// How many machines run at a time: emulated processors share this machine's.
const AT_A_TIME: usize = 2;

/// How long the tests may take on one kernel: some minutes on an idle machine, more on a busy one.
const TIMEOUT: Duration = Duration::from_mins(20);

/// Builds the tests and runs them on `kernels`, or on the whole matrix, and hands each kernel's
/// result to `each` with the time it began. Fails when there is nothing to run.
pub fn run(kernels: &[String], mut each: impl FnMut(&str, Instant, Result<()>)) -> Result<()> {
    let kernels: Vec<String> = match kernels {
        [] => MATRIX.map(str::to_owned).to_vec(),
        chosen => chosen.to_vec(),
    };
    let folder = tempfile::tempdir()?;
    fs::copy(build::tracer()?, folder.path().join("tracer"))?;
    build_tests(folder.path())?;
    let containers = tempfile::tempdir()?;
    if kernels.iter().any(|kernel| kernel == CONTAINERS_KERNEL) {
        add_containers(folder.path(), containers.path())?;
    }
    let next = AtomicUsize::new(0);
    let setting_up = Mutex::new(());
    let (sender, results) = channel();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(kernels.len()) {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // One at a time, or their progress would be mixed.
                    let ready = setting_up.lock().map(|_| Kernel::with_prefix(kernel));
                    let began = Instant::now();
                    let result = match ready {
                        Ok(Err(error)) => Err(error),
                        _ if kernel == CONTAINERS_KERNEL => run_on(kernel, containers.path()),
                        _ => run_on(kernel, folder.path()),
                    };
                    if sender.send((kernel, began, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (kernel, began, result) in results {
            each(
                kernel,
                began,
                result.and_then(|finished| judge(kernel, &finished)),
            );
        }
    });
    Ok(())
}

/// Has a kernel panic, and so end the tests, when a processor has been stuck in it for a minute. That was
/// seen once, for ten minutes, in a workload's thread while hooks were attached. Most likely the emulator
/// went on executing a breakpoint that the kernel had taken out of its code again.
const STUCK: &str = "softlockup_panic=1 watchdog_thresh=30";

/// What such a panic says.
const STUCK_PANIC: &str = "Kernel panic - not syncing: softlockup";

/// Runs the tests; once more where a processor got stuck.
fn run_on(kernel: &str, folder: &Path) -> Result<Finished> {
    let mut vm = Vm::new(kernel);
    vm.folder = Some(folder.to_owned());
    vm.output = Output::Capture;
    vm.timeout = TIMEOUT;
    // Hooks are attached while programs run through them. As two machines run at a time, little is lost.
    vm.pace = Pace::InTurn;
    STUCK.clone_into(&mut vm.append);
    vm.can_suspend = SUSPENDED.contains(&kernel);
    // One test at a time: they count what the whole guest does.
    let command = ["./kernel", "--test-threads=1"].map(str::to_owned);
    match vm.run(&command) {
        Err(error) if format!("{error:#}").contains(STUCK_PANIC) => {
            eprintln!("kernel {kernel} is begun anew, as a processor was stuck: {error:#}");
            vm.run(&command)
        }
        result => result,
    }
}

/// Makes a folder of all that another one has, and of what the tests with containers need besides: the
/// image as it is handed out, unpacked, and a runtime with its libraries.
fn add_containers(tests: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(tests)? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    let containers = setup::containers()?;
    let folder = folder.join("containers");
    let libraries = folder.join("lib");
    fs::create_dir_all(&libraries)?;
    fs::copy(&containers.crun, folder.join("crun"))?;
    for library in containers.libraries_of_crun()? {
        let name = library.file_name().unwrap_or_default();
        fs::copy(&library, libraries.join(name))
            .with_context(|| format!("cannot copy {}", library.display()))?;
    }
    dist::bundle_of_image(&tests.join("tracer"), &containers, &folder.join("image"))
}

/// Shows what the tests said, and whether they passed.
fn judge(kernel: &str, finished: &Finished) -> Result<()> {
    eprintln!(
        "---- kernel {kernel}, booted in {:.1} s",
        finished.boot.as_secs_f64()
    );
    for text in [&finished.stdout, &finished.stderr] {
        eprint!("{}", String::from_utf8_lossy(text));
    }
    ensure!(
        finished.code == 0,
        "the tests ended with exit code {}",
        finished.code
    );
    Ok(())
}

/// Builds the tests, and the programs of their package, as static binaries in `folder`.
fn build_tests(folder: &Path) -> Result<()> {
    let mut cargo = workspace::cargo("test");
    cargo.args([
        "--quiet",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.args(["--package", PACKAGE, "--test", TARGET]);
    workspace::make_static(&mut cargo);
    let messages = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !messages.status.success() {
        bail!(
            "the test target {TARGET} of package {PACKAGE} did not build ({})",
            messages.status
        );
    }
    for (name, path) in String::from_utf8_lossy(&messages.stdout)
        .lines()
        .filter_map(executable)
    {
        ensure!(
            setup::is_static(&path),
            "{} needs libraries that no guest has",
            path.display()
        );
        fs::copy(&path, folder.join(name))
            .with_context(|| format!("cannot copy {}", path.display()))?;
    }
    build_workload_with_frames(folder)
}

/// Builds the programs once more, with frame pointers, by which the kernel walks a stack. Their own code
/// alone: the standard library keeps them anyway.
fn build_workload_with_frames(folder: &Path) -> Result<()> {
    let mut cargo = workspace::cargo("rustc");
    cargo.args(["--quiet", "--package", PACKAGE, "--bin", WORKLOAD]);
    let target = workspace::make_static(&mut cargo);
    cargo.args(["--", "-C", "force-frame-pointers=yes"]);
    run_shown(&mut cargo)?;
    let path = workspace::target()
        .join(target)
        .join("debug")
        .join(WORKLOAD);
    fs::copy(&path, folder.join(WORKLOAD))
        .with_context(|| format!("cannot copy {}", path.display()))?;
    Ok(())
}

/// The name and the path of the binary that a message of cargo's says it made.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_read_from_cargos_messages() {
        let message = r#"{"target":{"name":"kernel"},"executable":"/target/kernel-1"}"#;
        assert_eq!(
            executable(message),
            Some(("kernel".to_owned(), "/target/kernel-1".into()))
        );
        assert_eq!(
            executable(r#"{"target":{"name":"a"},"executable":null}"#),
            None
        );
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("not json"), None);
    }
}
