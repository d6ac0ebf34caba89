//! The image for containers, in the layout of the Open Container Initiative; it never runs one.
//!
//! Its documents are few and fixed, so they are written here as JSON: the crate for them keeps labels and
//! annotations in tables of no order, and the digest would be another each time.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tree::{Tree, gzip};
use super::{LICENSES, Parts, Stamp, VERSION, source};
use crate::command::output_of;
use crate::setup::Containers;

/// Where the flight recorder's dumps go unless told otherwise.
const DUMPS: &str = "/var/lib/tracer";

/// Types of documents (<https://github.com/opencontainers/image-spec/blob/v1.1.0/media-types.md>).
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image as one file, which `docker load`, `podman load` and `skopeo copy oci-archive:…` take.
pub fn archive(parts: &Parts, stamp: &Stamp) -> Result<Vec<u8>> {
    layout(parts, stamp)?.tar(stamp.seconds)
}

/// The files of an image's layout.
fn layout(parts: &Parts, stamp: &Stamp) -> Result<Tree> {
    let mut layout = Tree::default();
    let mut add = |bytes: Vec<u8>, media_type: &str| {
        let digest = sha256(&bytes);
        let descriptor = json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        });
        let path = format!("blobs/sha256/{digest}");
        layout.file(&path, 0o644, bytes);
        (path, descriptor)
    };

    let files = root(parts)?.tar(stamp.seconds)?;
    let (layer_path, layer) = add(gzip(&files)?, LAYER);
    let labels = labels(stamp)?;
    let config = config(&labels, &sha256(&files), stamp)?;
    let (config_path, config) = add(serde_json::to_vec(&config)?, CONFIG);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": labels,
    });
    let (_, mut manifest) = add(serde_json::to_vec(&manifest)?, MANIFEST);
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": VERSION,
        // What containerd, and so Docker, calls an image that it loads.
        "io.containerd.image.name": format!("docker.io/library/tracer:{VERSION}"),
    });
    manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    // For a Docker from before it knew this layout: version 24 and older.
    let docker = json!([{
        "Config": config_path,
        "RepoTags": [format!("tracer:{VERSION}")],
        "Layers": [layer_path],
    }]);
    for (name, document) in [
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index),
        ("manifest.json", docker),
    ] {
        layout.file(name, 0o644, serde_json::to_vec(&document)?);
    }
    Ok(layout)
}

/// What the container sees as its root: the binary, its licences, and the folders that it writes to or
/// that others are mounted on.
fn root(parts: &Parts) -> Result<Tree> {
    let mut root = Tree::default();
    root.file("usr/bin/tracer", 0o755, parts.tracer.clone());
    for name in LICENSES {
        root.file(
            &format!("usr/share/doc/tracer/{name}"),
            0o644,
            source(name)?,
        );
    }
    for folder in ["dev", "etc", "proc", "run", "sys"] {
        root.folder(folder, 0o755);
    }
    root.folder("tmp", 0o1777);
    root.folder(DUMPS.trim_start_matches('/'), 0o700);
    Ok(root)
}

/// How a container of this image is begun.
fn config(labels: &Value, files: &str, stamp: &Stamp) -> Result<Value> {
    let created = created(stamp)?;
    Ok(json!({
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "0:0",
            // A volume that fills takes the whole pod with it.
            "Env": ["PATH=/usr/bin", format!("TRACER_DUMP_DIR={DUMPS}"), "TRACER_DUMP_KEEP=10"],
            "Entrypoint": ["/usr/bin/tracer"],
            "Cmd": ["serve"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{files}")]},
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
    }))
}

/// What the image says of itself, by the names that the specification has for it.
fn labels(stamp: &Stamp) -> Result<Value> {
    let mut labels = json!({
        "org.opencontainers.image.title": "tracer",
        "org.opencontainers.image.description":
            "Names the process behind flapping connections, TIME_WAIT sockets and descriptor bursts, by eBPF.",
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.created": created(stamp)?,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    });
    if let Some(revision) = &stamp.revision {
        labels["org.opencontainers.image.revision"] = json!(revision);
    }
    Ok(labels)
}

fn created(stamp: &Stamp) -> Result<String> {
    let seconds = i64::try_from(stamp.seconds)?;
    let time = jiff::Timestamp::from_second(seconds)
        .with_context(|| format!("{seconds} s since 1970 is no time of this calendar"))?;
    Ok(time.to_string())
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Unpacks an image as a container runtime wants it, `rootfs` and `config.json` in a new folder. Another
/// project's program does it, which holds every digest against what it reads.
pub fn bundle(image: &Path, containers: &Containers, folder: &Path) -> Result<()> {
    let layout = tempfile::tempdir()?;
    tar::Archive::new(fs::File::open(image)?)
        .unpack(layout.path())
        .with_context(|| format!("cannot unpack {}", image.display()))?;
    let name = format!("{}:{VERSION}", layout.path().display());
    let mut unpack = Command::new(&containers.umoci);
    // Without root it could not give files to root; they belong to whoever runs this, then.
    output_of(
        unpack
            .args(["unpack", "--rootless", "--image", &name])
            .arg(folder),
    )?;
    // As of a container that root runs.
    let mut config = Command::new(&containers.umoci);
    config.args(["raw", "runtime-config", "--image", &name]);
    output_of(config.arg(folder.join("config.json")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        Parts {
            tracer: b"binary".to_vec(),
            manual: Vec::new(),
            completions: Vec::new(),
        }
    }

    const STAMP: Stamp = Stamp {
        seconds: 1_700_000_000,
        revision: None,
    };

    #[test]
    fn the_same_parts_make_the_same_image() {
        let first = archive(&parts(), &STAMP).unwrap();
        assert!(first == archive(&parts(), &STAMP).unwrap());
        let later = Stamp {
            seconds: 1_700_000_001,
            ..STAMP
        };
        assert!(first != archive(&parts(), &later).unwrap());
    }

    #[test]
    fn it_is_begun_as_a_service() {
        let labels = labels(&STAMP).unwrap();
        let config = config(&labels, "00", &STAMP).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/tracer"]));
        assert_eq!(config["config"]["Cmd"], json!(["serve"]));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(labels["org.opencontainers.image.version"], VERSION);
    }
}
