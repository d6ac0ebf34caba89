#!/bin/sh
# The demo itself: starts programs that behave and programs that do not, shows what netstat knows
# of them, and watches them with tracer. It runs in a virtual machine or on the host, where it
# listens on loopback only and writes nothing outside a temporary folder.
#
# Beside it lie `tracer` and `workload`. Settings: PORT, the port to watch; OTHER_PORT, one for
# traffic beside it; WATCH, how long; COLOR, always or never; OUT, where the report is left.

set -u
cd "$(dirname "$0")" || exit
. ./say.sh
PATH=$PWD:$PATH
folder=$(mktemp -d) || exit
pids=

# Nothing that was started here outlives this script, however it ends.
clean_up() {
    # Those that have ended by themselves cannot be ended again.
    kill $pids 2>/dev/null
    wait
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

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
start() { # name, arguments...
    name=$1
    shift
    ln -f workload "$name" || exit
    "$PWD/$name" --time-limit 120 --ready-file "$folder/$name" "$@" <"$stdin" >/dev/null 3>&- &
    pids="$pids $!"
}

started() { # name, the process...
    until_so "$2" "starting $1" [ -e "$folder/$1" ]
}

time_wait_sockets() { # at least so many
    [ "$(grep -c "$(printf ':%04X 06 ' "$PORT")" /proc/net/tcp)" -ge "$1" ]
}

# Runs the first of the usual commands that there is.
sockets() {
    if netstat -antp >/dev/null 2>&1; then
        command='netstat -antp' says='The last column names the process; in TIME_WAIT it is "-".'
    elif netstat -ant >/dev/null 2>&1; then
        command='netstat -ant' says='With -p, which BusyBox lacks, the process would be "-" for each TIME_WAIT.'
    elif ss -antp >/dev/null 2>&1; then
        command='ss -antp' says='No process stands beside TIME-WAIT.'
    else
        echo '    (There is neither netstat nor ss here to show it.)'
        return
    fi
    echo "    \$ $command | grep :$PORT"
    $command 2>/dev/null | grep ":$PORT" | sed 's/^/    /; s/ *$//'
    echo "    $says"
}

step 'Starting programs, as in the incidents that tracer was made for:'
cat <<END
    zookeeper  a server on port $PORT
    monitor    an innocent client of it: keeps its connection, and asks now and then
    web        another server, on port $OTHER_PORT
    browser    a client of that: other traffic, which nobody asks for here
    shop       one of its threads connects to port $PORT, closes at once, and tries again, for ever
    tomcat     will open 228 jars at once; it may have 512 descriptors
END
mkfifo "$folder/go" "$folder/report" || exit
exec 3<>"$folder/go"
stdin=/dev/null
start zookeeper serve --port "$PORT" --family loopback
zookeeper=$!
start web serve --port "$OTHER_PORT" --family loopback
web=$!
# The burst begins when a line comes through this pipe.
stdin=$folder/go
start tomcat --fd-limit 512 --step burst --dir "$folder/webapps/shop/WEB-INF/lib" \
    --over-ms 500 --hold-ms 60000
tomcat=$!
stdin=/dev/null
started zookeeper $zookeeper
start monitor keep --addr 127.0.0.1 --port "$PORT"
monitor=$!
start shop flap --addr 127.0.0.1 --port "$PORT" --count 1000 --period-ms 400 --two-step \
    --thread Thread-3-SendTh
shop=$!
started web $web
start browser requests --addr 127.0.0.1 --port "$OTHER_PORT" --count 1000 --period-ms 300 \
    --requests 10
started browser $!
started monitor $monitor
started tomcat $tomcat

until_so $shop 'sockets in TIME_WAIT' time_wait_sockets 3
step 'What netstat knows: a socket in TIME_WAIT belongs to no process any more.'
sockets
echo '    Somebody opens and closes connections, and this is where the search used to end.'

step 'What tracer knows: it watches inside the kernel, where each program itself acts.'
echo "    \$ tracer watch --port $PORT --duration $WATCH"
echo '    (Attaching to the kernel takes some seconds in an emulator.)'
echo
tee "$OUT/report.txt" <"$folder/report" 3>&- &
shown=$!
tracer --color "$COLOR" watch --port "$PORT" --duration "$WATCH" --ready-file "$folder/tracer" \
    >"$folder/report" 3>&- &
tracer=$!
pids="$pids $shown $tracer"
until_so $tracer 'attaching to the kernel' [ -e "$folder/tracer" ]
echo >&3
wait $tracer
code=$?
wait $shown || exit
exit $code
