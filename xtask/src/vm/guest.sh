#!/.vm/busybox sh
# The first process of the guest: prepares it, runs the command, and hands over what it wrote.
# It reads the command from /.vm/command and settings from /.vm/settings; it never talks on the
# console, which is the kernel's.

PATH=/.vm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
. /.vm/settings

mount_all() { # where
    mkdir -p "$1/proc" "$1/sys" "$1/dev" "$1/tmp" "$1/run"
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mount -t devtmpfs devtmpfs "$1/dev"
    mkdir -p "$1/dev/pts" "$1/dev/shm"
    mount -t devpts devpts "$1/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$1/run"
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
    # As every distribution does; it is where the kernel tells whether it is locked down.
    mount -t securityfs securityfs "$1/sys/kernel/security"
}

# The host's files below, a file system in memory above: what is written stays in the guest.
enter_host_root() {
    mkdir -p /.vm/host /.vm/layer /.vm/root
    mount -t virtiofs host /.vm/host || return
    mount -t tmpfs tmpfs /.vm/layer
    mkdir -p /.vm/layer/upper /.vm/layer/work
    mount -t overlay -o lowerdir=/.vm/host,upperdir=/.vm/layer/upper,workdir=/.vm/layer/work \
        overlay /.vm/root || return
    for folder in work out; do
        mkdir -p /.vm/root/$folder
        mount -t tmpfs tmpfs /.vm/root/$folder
    done
    cp -a /work/. /.vm/root/work/
    mkdir -p /.vm/root/.vm
    cp -a /.vm/busybox /.vm/bin /.vm/init /.vm/settings /.vm/command /.vm/root/.vm/
    # Now, not after the switch: BusyBox finds itself by /proc, and the host's must not be asked.
    mount_all /.vm/root
    exec switch_root /.vm/root /.vm/init second
}

open_ports() {
    for port in /sys/class/virtio-ports/*; do
        read -r name <"$port/name"
        device=/dev/${port##*/}
        case $name in
        control) exec 3<>"$device" ;;
        stdout) exec 4>"$device" ;;
        stderr) exec 5>"$device" ;;
        files) exec 6>"$device" ;;
        esac
    done
}

# The command's streams are pipes, as programs expect, not the ports themselves, which only one
# process may have open. Nothing that the command leaves running may outlive it.
run_command() {
    mkfifo /run/.vm-stdout /run/.vm-stderr
    cat /run/.vm-stdout >&4 3>&- &
    keep="$!"
    cat /run/.vm-stderr >&5 3>&- &
    keep="$keep $!"
    # The root's own shell and programs: BusyBox's shell would prefer its own.
    PATH=${PATH#/.vm/bin:} /.vm/busybox setsid /bin/sh /.vm/command </dev/null >/run/.vm-stdout 2>/run/.vm-stderr \
        3>&- 4>&- 5>&- 6>&-
    code=$?
    for process in /proc/[0-9]*; do
        process=${process##*/}
        case " 1 $keep " in
        *" $process "*) ;;
        *) kill -9 "$process" 2>/dev/null ;;
        esac
    done
    wait $keep
}

if [ "$1" != second ]; then
    mount_all ""
    # What goes wrong from here on stands in the kernel's log, which the host shows.
    exec 2>/dev/kmsg
    for module in /.vm/modules/*.ko; do
        insmod "$module" || echo "cannot load $module" >/dev/kmsg
    done
    [ "$VM_ROOT" != host ] || enter_host_root
fi

# Since 7.x a task's slice ends in the middle of a hook, too, and the kernel then skips that hook for all
# other tasks on the same processor. On an emulated one, where a hook takes long, no test would see all events.
mount -t debugfs debugfs /sys/kernel/debug
[ ! -e /sys/kernel/debug/sched/features ] || echo NO_HRTICK >/sys/kernel/debug/sched/features
if [ -n "$VM_TRACEFS" ]; then
    mount -t tracefs tracefs /sys/kernel/tracing
else
    umount /sys/kernel/debug
fi
ip link set lo up
hostname tracer-vm
mkdir -p /work /out
cd /work
export HOME=/root OUT=/out TERM=xterm-256color

open_ports
echo ready >&3
run_command
printf %s "$VM_MARK" >&4
printf %s "$VM_MARK" >&5
tar -c -C /out . >&6
printf %s "$VM_MARK" >&6
echo "exit $code" >&3
# The host stops this machine once it has everything.
sleep 60
poweroff -f
