#!/bin/sh
# The demo itself: starts programs that behave and programs that do not, shows what netstat knows
# of them, and watches them with tracer. It runs in a virtual machine or on the host, where it
# listens on loopback only and writes nothing outside a temporary folder.
#
# Beside it lie `tracer` and `workload`. Settings: PORT, the port to watch; OTHER_PORT, one for
# traffic beside it; WATCH, how long; COLOR, always or never; OUT, where the report is left.

set -u
cd "$(dirname "$0")" || exit
PATH=$PWD:$PATH
folder=$(mktemp -d) || exit
pids=

bold= plain=
[ "$COLOR" = never ] || bold=$(printf '\033[1m') plain=$(printf '\033[0m')

# Nothing that was started here outlives this script, however it ends.
clean_up() {
    # Those that have ended by themselves cannot be ended again.
    kill $pids 2>/dev/null
    wait
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

step() { # headline
    printf '\n%s==> %s%s\n' "$bold" "$1" "$plain"
}

fail() { # reason
    echo "error: $1" >&2
    exit 1
}

# Waits until a condition holds; looking again is all that the pause is for.
until_so() { # pid on which it depends, what is waited for, condition...
    depends=$1 what=$2 left=600
    shift 2
    until "$@"; do
        left=$((left - 1))
        kill -0 "$depends" 2>/dev/null || fail "$what: the program ended before"
        [ $left -gt 0 ] || fail "$what: not within a minute"
        sleep 0.1
    done
}

# Starts one of the programs in the background. It is named after the file that is executed.
start() { # name, what it does, arguments...
    name=$1
    printf '      %-9s  %s\n' "$name" "$2"
    shift 2
    ln -f workload "$name" || exit
    "$PWD/$name" --time-limit 120 --ready-file "$folder/$name" "$@" <"$stdin" >/dev/null 3>&- &
    pids="$pids $!"
    until_so $! "starting $name" [ -e "$folder/$name" ]
}

time_wait_# Runs the first of the usual commands that there is.
sockets() {
    if netstat -antp >/dev/null 2>&1; then
        command='netstat -antp' says='The owner of a socket in TIME_WAIT is "-".'
    elif netstat -ante >/dev/null 2>&1; then
        command='netstat -ante' says='In TIME_WAIT the inode is 0, so that -p, which BusyBox lacks, would
    find no process by it; and the user is said to be root, whoever it was.'
    elif ss -antp >/dev/null 2>&1; then
        command='ss -antp' says='A socket in TIME-WAIT has no process beside it.'
    else
        echo '    (There is neither netstat nor ss here to show it.)'
        return
    fi
    echo "    \$ $command | grep -e Local -e :$PORT"
    $command 2>/dev/null | grep -e Local -e ":$PORT" | sed 's/^/    /; s/ *$//'
    echo "    $says"
}

step 'Starting programs, as in the incident that tracer was made for:'
stdin=/dev/null
start zookeeper "a server on port $PORT" \
    serve --port "$PORT" --family loopback
start monitor 'an innocent client of it, which keeps its connection' \
    keep --addr 127.0.0.1 --port "$PORT"
start web "another server, on port $OTHER_PORT" \
    serve --port "$OTHER_PORT" --family loopback
start browser 'a client of that: other traffic, which is not asked for' \
    requests --addr 127.0.0.1 --port "$OTHER_PORT" --count 1000 --period-ms 300 --requests 10
start shop "the culprit: one of its threads connects to $PORT, closes at once, and tries again" \
    flap --addr 127.0.0.1 --port "$PORT" --count 1000 --period-ms 400 --two-step \
    --thread Thread-3-SendTh
flapping=$!
# It begins when a line, or the end, comes through this pipe.
mkfifo "$folder/go" || exit
exec 3<>"$folder/go"
stdin=$folder/go
start tomcat 'will open 228 jars at once while it may have 512 descriptors' \
    --fd-limit 512 --step burst --dir "$folder/webapps/shop/WEB-INF/lib" \
    --over-ms 500 --hold-ms 2000

until_so $flapping 'sockets in TIME_WAIT' time_wait_sockets 3
step 'What netstat knows: a socket in TIME_WAIT belongs to no process any more.'
sockets
echo '    Somebody opens and closes connections, and this is where the search used to end.'

step 'What tracer knows: it watches inside the kernel, where each program itself acts.'
echo "    \$ tracer watch --port $PORT --duration $WATCH"
echo '    (attaching to the kernel; in an emulator that takes some seconds)'
echo
mkfifo "$folder/report" || exit
tee "$OUT/report.txt" <"$folder/report" 3>&- &
shown=$!
pids="$pids $shown"
tracer --color "$COLOR" watch --port "$PORT" --duration "$WATCH" --ready-file "$folder/tracer" \
    >"$folder/report" 3>&- &
tracer=$!
pids="$pids $tracer"
until_so $tracer 'attaching to the kernel' [ -e "$folder/tracer" ]
# Now that tracer watches, the burst may come; the lines are for its three steps.
printf '\n\n\n' >&3
wait $tracer
code=$?
wait $shown || exit
exit $code
