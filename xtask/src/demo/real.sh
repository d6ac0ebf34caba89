#!/bin/sh
# What the scenarios with real programs share: starting them as a container runtime would, waiting
# for what they do, and running tracer beside them. It is read by those scenarios, which run as root
# in a virtual machine that is thrown away afterwards.
#
# Settings: PROGRAMS, the folder with the programs' packages; COLOR, always or never; OUT, where
# tracer's output is left. Beside the script lies `tracer`.

set -u
PATH=$PWD:$PATH
. ./say.sh
java=/usr/lib/jvm/java-17-openjdk-amd64/bin/java
# An emulated processor compiles slowly, and a JVM can fail on two of them at once.
java_options='-Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx96m'
pin='taskset 1'

# Waits until a condition holds; looking again is all that the pause is for.
until_so() { # what is waited for, log that may tell more, condition...
    what=$1 log=$2 last=$(($(date +%s) + 180))
    shift 2
    until "$@"; do
        [ "$(date +%s)" -lt $last ] || fail "$what: not within three minutes" "$log"
        sleep 0.2
    done
}

says() { # log, text...
    file=$1
    shift
    grep -q "$*" "$file" 2>/dev/null
}

# A file system with the programs in it, as an image is to a container; what they write goes into
# the guest's memory.
prepare_programs() {
    mkdir -p /srv/image
    mount --bind "$PROGRAMS" /srv/image || fail 'the programs cannot be mounted'
    mkdir -p /srv/image/proc /srv/image/dev /srv/image/tmp /srv/image/work
    mount --bind "$PWD" /srv/image/work
    mount -t tmpfs tmpfs /srv/image/tmp
    cp /etc/passwd /etc/group /srv/image/etc/
    mount --bind /dev /srv/image/dev
    mount -t proc proc /srv/image/proc
}

# Runs a program of the image on this host. Sets `started`.
run() { # log, program, words...
    log=$1
    shift
    $pin chroot /srv/image "$@" >"$log" 2>&1 </dev/null &
    started=$!
}

# Runs a program of the image as a container runtime does: in a cgroup named after the container
# and in a pid namespace of its own. Sets `started`, the runtime's process.
run_contained() { # container's id, limit of descriptors, log, program, words...
    cgroup=/sys/fs/cgroup/system.slice/docker-$1.scope limit=$2 log=$3
    shift 3
    mkdir -p "$cgroup"
    (
        ulimit -n "$limit" && exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" \
            unshare --pid --fork --kill-child $pin chroot /srv/image "$@"
    ) >"$log" 2>&1 </dev/null &
    started=$!
}

# Starts the workload by this name, in the background, and waits until it is ready.
start() { # name, words of the workload...
    ln -f workload "$1" || exit
    name=$1
    shift
    "$PWD/$name" --time-limit 600 --ready-file "/tmp/$name" "$@" </dev/null >"/tmp/$name.log" 2>&1 &
    until_so "starting $name" "/tmp/$name.log" [ -e "/tmp/$name" ]
}

# Starts tracer with these words, and waits until it watches. Sets `tracer`.
start_tracer() { # words...
    tracer --color never "$@" --ready-file /tmp/tracer-ready >"$OUT/watch.jsonl" 2>/tmp/tracer.log &
    tracer=$!
    until_so 'attaching to the kernel' /tmp/tracer.log watches
}

watches() {
    kill -0 "$tracer" 2>/dev/null || fail 'tracer ended' /tmp/tracer.log
    [ -e /tmp/tracer-ready ]
}

# Ends tracer as Ctrl-C does.
end_tracer() {
    kill -INT "$tracer"
    wait "$tracer" || fail 'tracer failed' /tmp/tracer.log
}

# Whether tracer has told a verdict in which all of these words occur.
told() { # words...
    lines=$(grep '"type":"verdict"' "$OUT/watch.jsonl")
    for word in "$@"; do
        lines=$(printf %s "$lines" | grep -e "$word") || return
    done
}
