//! How `tracer dump` reaches a tracer that flies: a socket for root alone, and one line each way; never
//! anything else that could be asked.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
};

use super::flight::Asker;

/// What is asked for.
const DUMP: &str = "dump";

/// The socket of a tracer that flies; removed when dropped.
pub(super) struct Control {
    asked: UnboundedReceiver<Asker>,
    path: PathBuf,
}

impl Control {
    /// Listens at a path where nobody else does.
    pub(super) async fn listen(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot listen for `tracer dump` at {}", path.display());
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).await.is_ok() {
                    bail!(
                        "another tracer with a flight recorder listens at {}: give this one another \
                         path by --control",
                        path.display()
                    );
                }
                // What is left of one that was killed.
                std::fs::remove_file(path).with_context(cannot)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }
        .with_context(cannot)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(cannot)?;
        let (sender, asked) = unbounded_channel();
        // In a task of its own: whoever waits for the next one may stop waiting at any moment.
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await
                    && let Ok(asker) = question(stream).await
                    && sender.send(asker).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self {
            asked,
            path: path.to_owned(),
        })
    }

    /// The next one who asks for a dump.
    pub(super) async fn asked(&mut self) -> Option<Asker> {
        self.asked.recv().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Someone else may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads what is asked, and answers when the dump is written.
async fn question(stream: UnixStream) -> Result<Asker> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // Root alone can connect; still nobody may keep the watch waiting.
    tokio::time::timeout(
        std::time::Duration::from_secs(1),
        stream.read_line(&mut line),
    )
    .await??;
    if line.trim_end() != DUMP {
        bail!("{line:?} is not what can be asked");
    }
    let (asker, answer) = oneshot::channel::<Result<PathBuf, String>>();
    tokio::spawn(async move {
        let answer = match answer.await {
            Ok(Ok(path)) => format!("dumped {}\n", path.display()),
            Ok(Err(error)) => format!("failed {error}\n"),
            Err(_) => "failed the watch ended meanwhile\n".to_owned(),
        };
        // Whoever asked may have gone.
        let _ = stream.get_mut().write_all(answer.as_bytes()).await;
    });
    Ok(asker)
}

/// Asks the tracer that listens at a path for a dump; gives its path.
pub(super) async fn ask(path: &Path) -> Result<String> {
    let stream = UnixStream::connect(path).await.with_context(|| {
        format!(
            "no tracer with a flight recorder listens at {}: start one by `sudo tracer record --flight \
             5m`, or give its path by --control",
            path.display()
        )
    })?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"dump\n").await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.trim_end().split_once(' ') {
        Some(("dumped", path)) => Ok(path.to_owned()),
        Some(("failed", why)) => bail!("the dump could not be written: {why}"),
        _ => bail!("the tracer ended before the dump was written"),
    }
}
