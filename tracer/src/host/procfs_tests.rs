//! /proc as a made-up tree, with processes that vanish half way; never this host's.

use std::{collections::BTreeSet, net::TcpListener, os::unix::fs::symlink};

use super::*;
use crate::model::Pid;

/// A process as the kernel shows it; its name is meant to confuse.
fn fake_process() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let process = tree.path().join("4711");
    fs::create_dir_all(process.join("fd")).unwrap();
    fs::create_dir(process.join("ns")).unwrap();
    let files = [
        (
            "stat",
            "4711 (a) b (c) S 17 4711 17 34816 4711 4194304 1120 0 0 0 3 1 0 0 20 0 1 0 12345 \
             8646656 1024 18446744073709551615 0 0 0\n",
        ),
        (
            "status",
            "Name:\ta) b (c\nTgid:\t4711\nUid:\t104\t0\t104\t104\nNSpid:\t4711\t9\n",
        ),
        (
            "limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max processes             96000                96000                processes \n\
             Max open files            4096                 unlimited            files     \n",
        ),
        ("cmdline", "java\0-jar\0my app.jar\0"),
        ("cgroup", "0::/lxc/web\n"),
    ];
    for (name, content) in files {
        fs::write(process.join(name), content).unwrap();
    }
    symlink("/usr/bin/java", process.join("exe")).unwrap();
    symlink("net:[4026531840]", process.join("ns/net")).unwrap();
    symlink("/dev/null", process.join("fd/0")).unwrap();
    symlink("socket:[5001]", process.join("fd/1")).unwrap();
    symlink("pipe:[5002]", process.join("fd/2")).unwrap();
    symlink("socket:[5003]", process.join("fd/3")).unwrap();
    fs::write(
        tree.path().join("passwd"),
        "root:x:0:0:root:/root:/bin/sh\nbad line\nzookeeper:x:104:107::/var/lib/zookeeper:/bin/sh\n",
    )
    .unwrap();
    fs::create_dir(tree.path().join("sys")).unwrap();
    tree
}

fn procfs(tree: &tempfile::TempDir) -> Procfs {
    Procfs::new(tree.path().to_owned(), &tree.path().join("passwd"))
}

#[test]
fn who_a_process_is() {
    let tree = fake_process();
    assert_eq!(
        procfs(&tree).process_fact(Pid(4711)),
        ProcessFact {
            pid: Pid(4711),
            start: Some(Nanos(123_450_000_000)),
            comm: Some("a) b (c".to_owned()),
            exe: Some("/usr/bin/java".to_owned()),
            cmdline: Some("java -jar my app.jar".to_owned()),
            ppid: Some(Pid(17)),
            user: Some("zookeeper".to_owned()),
            ns_pid: Some(9),
            container: Some("web".to_owned()),
            runtime: Some("lxc".to_owned()),
            pod_uid: None,
            unit: None,
            netns: Some(Netns(4_026_531_840)),
            parents: Vec::new(),
        }
    );
}

/// Adds a process that started at this clock tick.
fn add(tree: &tempfile::TempDir, pid: u32, comm: &str, parent: u32, start_ticks: u64) {
    let process = tree.path().join(pid.to_string());
    fs::create_dir_all(&process).unwrap();
    let between = "1 1 0 -1 0 1 0 0 0 3 1 0 0 20 0 1 0";
    let stat = format!("{pid} ({comm}) S {parent} {between} {start_ticks} 8646656 1024\n");
    fs::write(process.join("stat"), stat).unwrap();
}

fn names(ancestors: &[Ancestor]) -> Vec<(u32, &str)> {
    ancestors
        .iter()
        .map(|ancestor| (ancestor.pid.0, ancestor.comm.as_str()))
        .collect()
}

#[test]
fn parents_are_told_up_to_the_first_process() {
    let tree = fake_process();
    add(&tree, 17, "backup.sh", 9, 12_300);
    add(&tree, 9, "sshd", 1, 500);
    add(&tree, 1, "systemd", 0, 0);
    let fact = procfs(&tree).process_fact(Pid(4711));
    assert_eq!(
        names(&fact.parents),
        [(17, "backup.sh"), (9, "sshd"), (1, "systemd")]
    );
}

#[test]
fn what_is_younger_than_its_child_is_not_the_parent() {
    let tree = fake_process();
    add(&tree, 17, "backup.sh", 9, 12_300);
    add(&tree, 9, "another", 1, 12_400);
    add(&tree, 1, "systemd", 0, 0);
    let fact = procfs(&tree).process_fact(Pid(4711));
    assert_eq!(names(&fact.parents), [(17, "backup.sh")]);
}

#[test]
fn a_line_of_parents_has_an_end() {
    let tree = fake_process();
    for pid in 17..40 {
        add(&tree, pid, "sh", pid + 1, 100);
    }
    add(&tree, 50, "sh", 51, 100);
    add(&tree, 51, "sh", 50, 100);
    let procfs = procfs(&tree);
    let start = Nanos::from_secs(2);
    assert_eq!(procfs.ancestors(Pid(17), start).len(), PARENTS_MAX);
    assert_eq!(procfs.ancestors(Pid(38), start).len(), 2);
    assert_eq!(procfs.ancestors(Pid(50), start).len(), PARENTS_MAX);
    assert_eq!(procfs.ancestors(Pid(0), start), []);
}

#[test]
fn what_is_not_there_is_none() {
    let tree = fake_process();
    let process = tree.path().join("4711");
    for name in ["stat", "cmdline", "cgroup", "exe", "limits", "ns/net"] {
        fs::remove_file(process.join(name)).unwrap();
    }
    fs::write(process.join("status"), "Uid:\t12345\t0\t0\t0\n").unwrap();
    let procfs = procfs(&tree);
    assert_eq!(
        procfs.process_fact(Pid(4711)),
        ProcessFact {
            pid: Pid(4711),
            user: Some("12345".to_owned()),
            ..ProcessFact::default()
        }
    );
    assert_eq!(
        procfs.descriptor_table(Pid(4711)),
        Some(DescriptorTable {
            start: None,
            open: 4,
            soft_limit: None,
            hard_limit: None
        })
    );
}

#[test]
fn a_process_that_has_vanished() {
    let tree = fake_process();
    let procfs = procfs(&tree);
    assert_eq!(
        procfs.process_fact(Pid(9)),
        ProcessFact {
            pid: Pid(9),
            ..ProcessFact::default()
        }
    );
    assert_eq!(procfs.descriptor_table(Pid(9)), None);
    assert_eq!(procfs.netns_of(Pid(9)), None);
    assert!(procfs.socket_inodes(Pid(9), |_| ()).is_err());
}

#[test]
fn descriptors_and_limits() {
    let tree = fake_process();
    assert_eq!(
        procfs(&tree).descriptor_table(Pid(4711)),
        Some(DescriptorTable {
            start: Some(Nanos(123_450_000_000)),
            open: 4,
            soft_limit: Some(4096),
            hard_limit: None
        })
    );
}

#[test]
fn what_a_table_holds() {
    let tree = fake_process();
    let descriptors = tree.path().join("4711/fd");
    for (fd, target) in [
        (4, "/srv/lib/b.jar"),
        (5, "/srv/lib/a.jar (deleted)"),
        (6, "/srv/lib/a.jar"),
        (7, "anon_inode:[eventpoll]"),
        (8, "/dev/shm/ring"),
    ] {
        symlink(target, descriptors.join(fd.to_string())).unwrap();
    }
    let table = procfs(&tree).table_fact(Pid(4711)).unwrap();
    assert_eq!(table.start, Some(Nanos(123_450_000_000)));
    let [files, sockets, pipes, devices, anonymous] = table.kinds;
    assert_eq!((files, sockets, pipes, devices, anonymous), (4, 2, 1, 1, 1));
    let paths = [
        ("/srv/lib/a.jar", 2),
        ("/dev/shm/ring", 1),
        ("/srv/lib/b.jar", 1),
    ];
    assert_eq!(
        table.paths,
        paths.map(|(path, count)| (path.to_owned(), count))
    );
    assert_eq!(procfs(&tree).table_fact(Pid(1)), None);
}

#[test]
fn sockets_namespace_and_processes() {
    let tree = fake_process();
    let procfs = procfs(&tree);
    let mut inodes = BTreeSet::new();
    procfs
        .socket_inodes(Pid(4711), |inode| {
            inodes.insert(inode);
        })
        .unwrap();
    assert_eq!(inodes, BTreeSet::from([5001, 5003]));
    assert_eq!(procfs.netns_of(Pid(4711)), Some(Netns(4_026_531_840)));
    let pids: Vec<_> = procfs.pids().unwrap().collect();
    assert_eq!(pids, [Pid(4711)]);
}

#[test]
fn command_lines() {
    assert_eq!(cmdline(b""), None);
    assert_eq!(cmdline(b"\0\0"), None);
    assert_eq!(cmdline(b"sh\0-c\0\0").as_deref(), Some("sh -c"));
    let exact = vec![b'x'; CMDLINE_BYTES_MAX];
    assert_eq!(cmdline(&exact), Some("x".repeat(CMDLINE_BYTES_MAX)));
    let mut long = vec![b'x'; CMDLINE_BYTES_MAX - 1];
    long.extend_from_slice("ä".as_bytes());
    assert_eq!(
        cmdline(&long),
        Some(format!("{}…", "x".repeat(CMDLINE_BYTES_MAX - 1)))
    );
}

#[test]
fn broken_files_are_not_read_as_something_else() {
    assert_eq!(parse_stat(""), None);
    assert_eq!(parse_stat("1 (x) S 0 1"), None);
    assert_eq!(parse_open_files_limit("Max open files"), None);
    assert_eq!(bracketed(b"socket:[12", b"socket:["), None);
    assert_eq!(bracketed(b"socket:[4294967296]", b"socket:["), None);
}

#[test]
fn this_process_on_the_real_proc() {
    let procfs = Procfs::of_this_host();
    let own = Pid(std::process::id());
    let fact = procfs.process_fact(own);
    let exe = std::env::current_exe().unwrap();
    assert_eq!(fact.exe.as_deref(), exe.to_str());
    assert_eq!(fact.ppid, Some(Pid(std::os::unix::process::parent_id())));
    assert!(fact.start.unwrap() <= crate::host::session::now());

    // Descriptors above all that other tests of this process open meanwhile cannot be told apart,
    // so only a lower bound is certain.
    let listeners: Vec<_> = (0..10)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let table = procfs.descriptor_table(own).unwrap();
    assert!(table.open >= listeners.len() as u64);
    assert!(table.soft_limit.unwrap() >= table.open);
}
