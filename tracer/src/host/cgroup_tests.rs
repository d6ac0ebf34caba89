//! Containers, pods and units told from the cgroup paths of each runtime; never from this host's.

use super::*;

const ID: &str = "4f5a1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
const UID: &str = "1f0a2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

/// Where a cgroup's processes run; `{id}` is a container's id, `{uid}` a pod's, `{u_i_d}` the same as
/// systemd has it.
fn place(path: &str) -> Place {
    let path = path.replace("{id}", ID).replace("{uid}", UID);
    place_in_path(&path.replace("{u_i_d}", &UID.replace('-', "_")))
}

fn container(path: &str) -> Option<String> {
    place(path).container
}

#[track_caller]
fn names_id(path: &str, runtime: Option<&str>) {
    let place = place(path);
    assert_eq!(place.container.as_deref(), Some(ID), "{path}");
    assert_eq!(place.runtime, runtime, "{path}");
}

#[test]
fn docker() {
    names_id("/system.slice/docker-{id}.scope", Some("docker"));
    names_id("/docker/{id}", Some("docker"));
    names_id("/docker/{id}/init.scope", Some("docker"));
}

#[test]
fn containerd() {
    names_id("/system.slice/nerdctl-{id}.scope", Some("containerd"));
    // Its namespace, which may be called anything.
    names_id("/default/{id}", None);
}

#[test]
fn kubernetes_by_containerd() {
    let paths = [
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_i_d}.slice/\
             cri-containerd-{id}.scope",
            Some("containerd"),
        ),
        // Whose it is, no name tells.
        ("/kubepods/besteffort/pod{uid}/{id}", None),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{u_i_d}.slice:cri-containerd:{id}",
            Some("containerd"),
        ),
    ];
    for (path, runtime) in paths {
        names_id(path, runtime);
        assert_eq!(place(path).pod_uid.as_deref(), Some(UID), "{path}");
    }
}

#[test]
fn kubernetes_by_cri_o() {
    for path in [
        "/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-{id}.scope",
        "/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-{id}.scope/container",
        "/kubepods/pod{uid}/crio-{id}",
    ] {
        names_id(path, Some("cri-o"));
        assert_eq!(place(path).pod_uid.as_deref(), Some(UID), "{path}");
    }
    assert_eq!(container("/kubepods.slice/crio-conmon-{id}.scope"), None);
}

#[test]
fn pods_that_the_kubelet_reads_from_files() {
    let hash = "9b7c1f0a2c3d4e5f60718293a4b5c6d7";
    let path =
        format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice");
    assert_eq!(place(&path).pod_uid.as_deref(), Some(hash));
}

#[test]
fn the_innermost_pod_counts() {
    let outer = "0".repeat(32);
    let path = format!(
        "/kubepods.slice/kubepods-pod{outer}.slice/cri-containerd-{ID}.scope/kubelet.slice/\
         kubelet-kubepods.slice/kubelet-kubepods-pod{{u_i_d}}.slice/cri-containerd-{{id}}.scope"
    );
    assert_eq!(place(&path).pod_uid.as_deref(), Some(UID));
}

#[test]
fn what_only_looks_like_a_pod() {
    for path in [
        "/system.slice/podman.service",
        "/kubepods.slice/kubepods-burstable.slice",
        "/pods/pod1f0a",
        "/system.slice/tripod-pod1f0a2c3d-4e5f-6071-8293-a4b5c6d7e8f9.slice",
    ] {
        assert_eq!(place(path).pod_uid, None, "{path}");
    }
}

#[test]
fn podman() {
    for path in [
        "/machine.slice/libpod-{id}.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope",
        "/libpod_parent/libpod-{id}",
        "/libpod_parent/{id}",
    ] {
        names_id(path, Some("podman"));
    }
    assert_eq!(container("/machine.slice/libpod-conmon-{id}.scope"), None);
}

#[test]
fn lxc() {
    for (path, unit) in [
        ("/lxc/web", None),
        (
            "/lxc.payload.web/system.slice/nginx.service",
            Some("nginx.service"),
        ),
        ("/lxc.payload/web", None),
    ] {
        let place = place(path);
        assert_eq!(place.container.as_deref(), Some("web"), "{path}");
        assert_eq!(place.runtime, Some("lxc"), "{path}");
        assert_eq!(place.unit.as_deref(), unit, "{path}");
    }
    assert_eq!(container("/lxc.monitor.web"), None);
}

#[test]
fn systemd_machines() {
    let build = place(r"/machine.slice/machine-build\x2dhost.scope/payload");
    assert_eq!(build.container.as_deref(), Some("build-host"));
    assert_eq!(build.runtime, Some("systemd-machined"));
    let web = place("/machine.slice/systemd-nspawn@web.service/payload/init.scope");
    assert_eq!(web.container.as_deref(), Some("web"));
    assert_eq!(web.runtime, Some("systemd-nspawn"));
    assert_eq!(unescape(r"a\x2"), r"a\x2");
}

#[test]
fn the_innermost_container_counts() {
    let outer = "0".repeat(64);
    names_id(
        &format!("/docker/{outer}/kubelet/kubepods/pod7/{{id}}"),
        None,
    );
    names_id(
        "/lxc.payload.web/system.slice/docker-{id}.scope",
        Some("docker"),
    );
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
        assert_eq!(container(path), None, "{path}");
        assert_eq!(place(path).runtime, None, "{path}");
    }
}

#[test]
fn units() {
    for (path, unit) in [
        ("/system.slice/nginx.service", Some("nginx.service")),
        (
            "/system.slice/nginx.service/worker/3",
            Some("nginx.service"),
        ),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            Some("getty@tty1.service"),
        ),
        (
            r"/system.slice/app-a\x2db.service",
            Some(r"app-a\x2db.service"),
        ),
        ("/system.slice/_cgroup.service", Some("cgroup.service")),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            Some("session-3.scope"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service",
            Some("editor.service"),
        ),
        ("/init.scope", Some("init.scope")),
        ("/system.slice/docker.service", Some("docker.service")),
        // A container's own scope says no more than the container, what it runs within does.
        ("/system.slice/docker-{id}.scope", None),
        (
            "/system.slice/docker-{id}.scope/system.slice/cron.service",
            Some("cron.service"),
        ),
        (
            "/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-{id}.scope/container",
            None,
        ),
        ("/system.slice", None),
        ("/system.slice/.service", None),
        ("/", None),
    ] {
        assert_eq!(place(path).unit.as_deref(), unit, "{path}");
    }
}

#[test]
fn a_process_of_cgroup_v2() {
    let place = place_of_process(&format!("0::/system.slice/docker-{ID}.scope\n"));
    assert_eq!(
        place,
        Place {
            container: Some(ID.to_owned()),
            runtime: Some("docker"),
            pod_uid: None,
            unit: None,
        }
    );
}

#[test]
fn a_process_of_cgroup_v1() {
    let place = place_of_process(&format!(
        "12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n\
         0::/system.slice/containerd.service\n"
    ));
    assert_eq!(place.container.as_deref(), Some(ID));
    assert_eq!(place.runtime, Some("docker"));
    assert_eq!(place.unit.as_deref(), Some("containerd.service"));
}

#[test]
fn systemds_own_hierarchy_knows_the_unit_best() {
    let place = place_of_process(
        "9:memory:/user.slice/user-1000.slice/user@1000.service\n\
         1:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service\n",
    );
    assert_eq!(place.unit.as_deref(), Some("editor.service"));
    let place = place_of_process("9:memory:/system.slice/cron.service\n1:name=systemd:/\n");
    assert_eq!(place.unit.as_deref(), Some("cron.service"));
}

#[test]
fn a_process_of_a_removed_cgroup() {
    let place = place_of_process("0::/system.slice/cron.service (deleted)\n");
    assert_eq!(place.unit.as_deref(), Some("cron.service"));
}

#[test]
fn a_process_of_no_cgroup() {
    assert_eq!(place_of_process("0::/\n"), Place::default());
    assert_eq!(place_of_process("no cgroup here"), Place::default());
}

fn id_of(cgroups: &mut Cgroups, id: u64, now: Nanos) -> Option<String> {
    cgroups.place(id, now)?.container.clone()
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

    assert_eq!(id_of(&mut cgroups, id, Nanos(0)).as_deref(), Some(ID));
    assert_eq!(id_of(&mut cgroups, slice, Nanos(0)), None);
    fs::remove_dir(&scope).unwrap();
    assert_eq!(id_of(&mut cgroups, 0, Nanos::from_secs(10)), None);
    assert_eq!(
        id_of(&mut cgroups, id, Nanos::from_secs(10)).as_deref(),
        Some(ID)
    );
}

#[test]
fn a_cgroup_made_right_after_a_walk_is_found() {
    let tree = tempfile::tempdir().unwrap();
    let mut cgroups = Cgroups::new(Some(tree.path().to_owned()));
    assert_eq!(id_of(&mut cgroups, 0, Nanos(5)), None);
    let scope = tree.path().join(format!("docker-{ID}.scope"));
    fs::create_dir(&scope).unwrap();
    let id = fs::metadata(&scope).unwrap().ino();
    assert_eq!(id_of(&mut cgroups, id, Nanos(6)).as_deref(), Some(ID));
}

#[test]
fn unknown_ids_make_cgroups_be_walked_some_times_and_then_once_a_second() {
    let tree = tempfile::tempdir().unwrap();
    let mut cgroups = Cgroups::new(Some(tree.path().to_owned()));
    for unknown in 0..WALKS_AT_ONCE {
        assert_eq!(id_of(&mut cgroups, unknown, Nanos(5)), None);
    }
    let scope = tree.path().join(format!("docker-{ID}.scope"));
    fs::create_dir(&scope).unwrap();
    let id = fs::metadata(&scope).unwrap().ino();

    assert_eq!(id_of(&mut cgroups, id, Nanos(999_999_999)), None);
    assert_eq!(
        id_of(&mut cgroups, id, Nanos::from_secs(1)).as_deref(),
        Some(ID)
    );
}

#[test]
fn an_id_that_was_looked_for_in_vain_is_not_looked_for_again() {
    let tree = tempfile::tempdir().unwrap();
    let mut cgroups = Cgroups::new(Some(tree.path().to_owned()));
    for _ in 0..=WALKS_AT_ONCE {
        assert_eq!(id_of(&mut cgroups, 0, Nanos(5)), None);
    }
    let scope = tree.path().join(format!("docker-{ID}.scope"));
    fs::create_dir(&scope).unwrap();
    let id = fs::metadata(&scope).unwrap().ino();
    assert_eq!(id_of(&mut cgroups, id, Nanos(5)).as_deref(), Some(ID));
}

#[test]
fn without_cgroup_v2_nothing_is_found() {
    let mut cgroups = Cgroups::new(None);
    assert_eq!(cgroups.place(1, Nanos(0)), None);
    assert!(cgroups.places.is_empty());
}
