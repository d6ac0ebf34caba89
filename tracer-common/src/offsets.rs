//! Where the running kernel keeps what the probes read, in bytes from the start of each structure.
//!
//! rustc emits no relocations for kernel structures, so an offset that were fixed at build time
//! would read garbage on another kernel. The collector fills these in from the kernel's own BTF
//! before the programs are loaded; never a default that could be mistaken for a real offset.

/// Declares the table once: the structure that both halves share and the names to look up.
macro_rules! offsets {
    ($($field:ident: $structure:literal . $member:literal),+ $(,)?) => {
        /// Byte offsets into kernel structures; each field is named structure first, member last.
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub struct Offsets {
            $(
                #[doc = concat!("`", $member, "` in `struct ", $structure, "`.")]
                pub $field: u32,
            )+
        }

        impl Offsets {
            /// Every field with the structure and member that it stands for; a member may be a path
            /// with dots, and may lie in an unnamed union.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$(($structure, $member)),+];

            /// Every offset 0: what stands in the object before the collector fills it in.
            pub const ZERO: Self = Self { $($field: 0),+ };

            /// Makes the table from offsets in the order of [`Offsets::FIELDS`].
            #[must_use]
            pub fn from_values(values: &[u32; Self::FIELDS.len()]) -> Self {
                let [$($field),+] = *values;
                Self { $($field),+ }
            }
        }
    };
}

offsets! {
    sock_family: "sock_common"."skc_family",
    sock_state: "sock_common"."skc_state",
    sock_daddr: "sock_common"."skc_daddr",
    sock_rcv_saddr: "sock_common"."skc_rcv_saddr",
    sock_v6_daddr: "sock_common"."skc_v6_daddr",
    sock_v6_rcv_saddr: "sock_common"."skc_v6_rcv_saddr",
    sock_dport: "sock_common"."skc_dport",
    sock_num: "sock_common"."skc_num",
    sock_net: "sock_common"."skc_net",
    sock_cookie: "sock_common"."skc_cookie",
    sock_err: "sock"."sk_err",
    sock_protocol: "sock"."sk_protocol",
    inet_sport: "inet_sock"."inet_sport",
    tcp_bytes_acked: "tcp_sock"."bytes_acked",
    tcp_bytes_received: "tcp_sock"."bytes_received",
    tcp_snd_una: "tcp_sock"."snd_una",
    tcp_write_seq: "tcp_sock"."write_seq",
    net_inum: "net"."ns.inum",
    task_group_leader: "task_struct"."group_leader",
    task_real_parent: "task_struct"."real_parent",
    task_start_boottime: "task_struct"."start_boottime",
    task_comm: "task_struct"."comm",
    task_tgid: "task_struct"."tgid",
    task_flags: "task_struct"."flags",
    task_status: "task_struct"."thread_info.status",
    task_stack: "task_struct"."stack",
    task_mm: "task_struct"."mm",
    task_signal: "task_struct"."signal",
    task_nsproxy: "task_struct"."nsproxy",
    task_thread_pid: "task_struct"."thread_pid",
    nsproxy_net: "nsproxy"."net_ns",
    nsproxy_uts: "nsproxy"."uts_ns",
    uts_nodename: "uts_namespace"."name.nodename",
    signal_live: "signal_struct"."live",
    pid_level: "pid"."level",
    pid_numbers: "pid"."numbers",
    pidns_inum: "pid_namespace"."ns.inum",
    mm_arg_start: "mm_struct"."arg_start",
    mm_arg_end: "mm_struct"."arg_end",
    file_inode: "file"."f_inode",
    file_path: "file"."f_path",
    path_mnt: "path"."mnt",
    path_dentry: "path"."dentry",
    inode_mode: "inode"."i_mode",
    dentry_parent: "dentry"."d_parent",
    dentry_name: "dentry"."d_name.name",
    vfsmount_root: "vfsmount"."mnt_root",
    mount_mnt: "mount"."mnt",
    mount_parent: "mount"."mnt_parent",
    mount_mountpoint: "mount"."mnt_mountpoint",
    filename_name: "filename"."name",
}
