//! Starts the emulator, and the server of this machine's files beside it; it never leaves either
//! running, however this program ends.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Pace, Root, Vm, ports};
use crate::command::last_lines;
use crate::setup::{self, Kernel};

/// How often the file server's socket is looked for, and for how long.
const POLL: Duration = Duration::from_millis(5);
const SHARE_TIMEOUT: Duration = Duration::from_secs(20);

/// What tells the guest that it may be suspended.
const MAY_SUSPEND: &str = "vm.suspend";

/// How much of what the file server said an error shows.
const LINES_SHOWN: usize = 20;

/// A program that ends when this one does, however this one ends.
pub struct Dependent(Child);

impl Dependent {
    fn start(program: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        configure(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {} by setpriv", program.display()))?;
        Ok(Self(child))
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Dependent {
    fn drop(&mut self) {
        // Both fail only where the program has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The emulator and what it depends on. Fields are dropped in order: the emulator must end before
/// its file server, or it complains.
pub struct Emulator {
    machine: Dependent,
    _share: Option<Dependent>,
}

impl Emulator {
    /// Starts the machine, whose first file system, ports and console lie in `folder`.
    pub fn start(vm: &Vm, kernel: &Kernel, folder: &Path) -> Result<Self> {
        let qemu = setup::qemu()?;
        let share = (vm.root == Root::Host)
            .then(|| share_root(folder))
            .transpose()?;
        let machine = Dependent::start(&qemu, |command| arguments(command, vm, kernel, folder))?;
        Ok(Self {
            machine,
            _share: share,
        })
    }

    /// The emulator's process.
    pub fn child(&mut self) -> &mut Child {
        self.machine.child()
    }
}

/// The file that the kernel's console is written to.
pub fn console(folder: &Path) -> std::path::PathBuf {
    folder.join("console")
}

/// The file that holds the first file system.
pub fn initrd(folder: &Path) -> std::path::PathBuf {
    folder.join("initrd")
}

/// Starts the server through which the guest reads this machine's files.
fn share_root(folder: &Path) -> Result<Dependent> {
    let socket = folder.join("share");
    let log = folder.join("share.log");
    let file = File::create(&log)?;
    let mut server = Dependent::start(&setup::virtiofsd()?, |command| {
        command
            .arg(format!("--socket-path={}", socket.display()))
            .args([
                "-o",
                "source=/",
                "-o",
                "cache=always",
                "-o",
                "sandbox=chroot",
            ])
            .stdout(Stdio::null())
            .stderr(file);
    })?;
    let began = Instant::now();
    while !socket.exists() {
        if server.child().try_wait()?.is_some() || began.elapsed() > SHARE_TIMEOUT {
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!(
                "virtiofsd did not start; it said:\n{}",
                last_lines(&said, LINES_SHOWN)
            );
        }
        thread::sleep(POLL);
    }
    Ok(server)
}

/// Sets the emulator's command line.
fn arguments(command: &mut Command, vm: &Vm, kernel: &Kernel, folder: &Path) {
    let memory = vm.memory_mib;
    let (accelerator, cpus) = match vm.pace {
        Pace::Counted => ("tcg", 1),
        Pace::InTurn => ("tcg,thread=single", vm.cpus),
        Pace::AtOnce => ("tcg,thread=multi", vm.cpus),
    };
    command
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
        .args(["-machine", "q35,memory-backend=ram", "-accel", accelerator])
        // Some kernels panic at boot where the emulator claims these two features.
        .args(["-cpu", "max,-la57,-cx16"])
        .args(["-smp", &cpus.to_string()])
        .args(["-m", &format!("{memory}M")])
        // The file server reads the guest's memory, so it must be shared.
        .args(["-object", &format!("memory-backend-memfd,id=ram,size={memory}M,share=on")])
        .arg("-kernel")
        .arg(if vm.can_suspend { &kernel.packed } else { &kernel.image })
        .arg("-initrd")
        .arg(initrd(folder))
        .args(["-append", &kernel_arguments(vm)])
        .args(["-serial", &format!("file:{}", console(folder).display())])
        .args(["-device", "virtio-serial-pci"]);
    for port in ports::NAMES {
        let path = folder.join(port);
        command
            .args([
                "-chardev",
                &format!("socket,id={port},path={}", path.display()),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev={port},name={port}"),
            ]);
    }
    if vm.pace == Pace::Counted {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    if vm.root == Root::Host {
        let socket = folder.join("share");
        command
            .args([
                "-chardev",
                &format!("socket,id=share,path={}", socket.display()),
            ])
            .args(["-device", "vhost-user-fs-pci,chardev=share,tag=host"]);
    }
}

fn kernel_arguments(vm: &Vm) -> String {
    // An oops ends the run: a test that hurt the kernel must not pass.
    let base = "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on rdinit=/.vm/init";
    let may = if vm.can_suspend { MAY_SUSPEND } else { "" };
    [base, may, &vm.append].join(" ").trim_end().to_owned()
}
