//! Containers told from the cgroup paths of each runtime; never from this host's.

use super::*;

const ID: &str = "4f5a1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";

fn in_path(path: &str) -> Option<String> {
    container_in_path(&path.replace("ID", ID))
}

#[track_caller]
fn names_id(path: &str) {
    assert_eq!(in_path(path).as_deref(), Some(ID), "{path}");
}

#[test]
fn docker() {
    names_id("/system.slice/docker-ID.scope");
    names_id("/docker/ID");
    names_id("/docker/ID/init.scope");
}

#[test]
fn kubernetes_by_containerd() {
    names_id(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f0a2c3d_4e5f.slice/\
         cri-containerd-ID.scope",
    );
    names_id("/kubepods/besteffort/pod1f0a2c3d-4e5f-6071-8293-a4b5c6d7e8f9/ID");
    names_id("/system.slice/containerd.service/kubepods-burstable-pod1f0a.slice:cri-containerd:ID");
}

#[test]
fn kubernetes_by_cri_o() {
    names_id("/kubepods.slice/kubepods-pod1f0a2c3d.slice/crio-ID.scope");
    names_id("/kubepods.slice/kubepods-pod1f0a2c3d.slice/crio-ID.scope/container");
    assert_eq!(in_path("/kubepods.slice/crio-conmon-ID.scope"), None);
}

#[test]
fn podman() {
    names_id("/machine.slice/libpod-ID.scope/container");
    names_id("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope");
    names_id("/libpod_parent/libpod-ID");
    assert_eq!(in_path("/machine.slice/libpod-conmon-ID.scope"), None);
}

#[test]
fn lxc() {
    assert_eq!(in_path("/lxc/web").as_deref(), Some("web"));
    assert_eq!(
        in_path("/lxc.payload.web/system.slice/nginx.service").as_deref(),
        Some("web")
    );
    assert_eq!(in_path("/lxc.payload/web").as_deref(), Some("web"));
    assert_eq!(in_path("/lxc.monitor.web"), None);
}

#[test]
fn systemd_machines() {
    assert_eq!(
        in_path(r"/machine.slice/machine-build\x2dhost.scope/payload").as_deref(),
        Some("build-host")
    );
    assert_eq!(
        in_path("/machine.slice/systemd-nspawn@web.service/payload/init.scope").as_deref(),
        Some("web")
    );
    assert_eq!(unescape(r"a\x2"), r"a\x2");
}

#[test]
fn the_innermost_container_counts() {
    let outer = "0".repeat(64);
    assert_eq!(
        in_path(&format!("/docker/{outer}/kubelet/kubepods/pod7/ID")).as_deref(),
        Some(ID)
    );
    names_id("/lxc.payload.web/system.slice/docker-ID.scope");
}

#[test]
fn no_container() {
    for path in [
        "/",
        "",
        "/init.scope",
        "/system.slice/ssh.service",
        "/user.slice/user-1000.slice/session-3.scope",
        "/machine.slice",
        // 32 digits, and 64 characters that are no digits.
        "/jobs/aa1f02e7982a20bfb2d841230203a5e8",
        "/jobs/zz1f02e7982a20bfb2d841230203a5e8zz1f02e7982a20bfb2d841230203a5e8",
    ] {
        assert_eq!(in_path(path), None, "{path}");
    }
}

#[test]
fn a_process_of_cgroup_v2() {
    let text = format!("0::/system.slice/docker-{ID}.scope\n");
    assert_eq!(container_of_process(&text).as_deref(), Some(ID));
}

#[test]
fn a_process_of_cgroup_v1() {
    let text = format!(
        "12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n\
         0::/system.slice/containerd.service\n"
    );
    assert_eq!(container_of_process(&text).as_deref(), Some(ID));
}

#[test]
fn a_process_of_the_host() {
    assert_eq!(container_of_process("0::/init.scope\n"), None);
    assert_eq!(container_of_process("no cgroup here"), None);
}

#[test]
fn a_cgroup_is_found_by_its_id_even_after_it_was_removed() {
    let tree = tempfile::tempdir().unwrap();
    let scope = tree
        .path()
        .join("system.slice")
        .join(format!("docker-{ID}.scope"));
    fs::create_dir_all(&scope).unwrap();
    let id = fs::metadata(&scope).unwrap().ino();
    let slice = fs::metadata(tree.path().join("system.slice"))
        .unwrap()
        .ino();
    let mut cgroups = Cgroups::new(Some(tree.path().to_owned()));

    assert_eq!(cgroups.container(id, Nanos(0)), Some(ID));
    assert_eq!(cgroups.container(slice, Nanos(0)), None);
    fs::remove_dir(&scope).unwrap();
    assert_eq!(cgroups.container(0, Nanos::from_secs(10)), None);
    assert_eq!(cgroups.container(id, Nanos::from_secs(10)), Some(ID));
}

#[test]
fn an_unknown_id_makes_cgroups_be_walked_once_a_second() {
    let tree = tempfile::tempdir().unwrap();
    let mut cgroups = Cgroups::new(Some(tree.path().to_owned()));
    assert_eq!(cgroups.container(0, Nanos(5)), None);
    let scope = tree.path().join(format!("docker-{ID}.scope"));
    fs::create_dir(&scope).unwrap();
    let id = fs::metadata(&scope).unwrap().ino();

    assert_eq!(cgroups.container(id, Nanos::from_secs(1)), None);
    assert_eq!(cgroups.container(id, Nanos(1_000_000_005)), Some(ID));
}

#[test]
fn without_cgroup_v2_nothing_is_found() {
    assert_eq!(Cgroups::new(None).container(1, Nanos(0)), None);
}
