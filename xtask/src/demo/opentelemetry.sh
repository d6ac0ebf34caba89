#!/bin/sh
# A real collector takes the verdicts of a real tracer by OTLP, although it is started only after the
# first of them was made, and again when it comes back.

cd "$(dirname "$0")" || exit
. ./real.sh

port=2181
libraries=$PROGRAMS/usr/lib/x86_64-linux-gnu

# Takes all and keeps nothing; what it was told stands in its log.
start_collector() { # log
    "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$PROGRAMS/rotel/rotel-agent" start \
        --exporter blackhole --otlp-http-endpoint 127.0.0.1:4318 --otlp-grpc-endpoint 127.0.0.1:4317 \
        --debug-log logs --debug-log-verbosity detailed >"$1" 2>&1 </dev/null &
    collector=$!
}

# Whether metrics say that so many records, or more, had this outcome.
counted() { # outcome, least
    wget -q -O /tmp/metrics http://127.0.0.1:9740/metrics &&
        awk -v outcome="outcome=\"$1\"" -v least="$2" \
            '/^tracer_otlp_/ && index($0, outcome) { found = $NF } END { exit !(found >= least) }' /tmp/metrics
}

step 'Starting a server, a client that flaps, and tracer, which can reach no collector yet'
start zookeeper serve --port $port --family loopback
start_tracer serve --port $port --otlp http://127.0.0.1:4318 --otlp-events tcp_connect
start shop flap --addr 127.0.0.1 --port $port --count 10000 --period-ms 400 --thread Thread-3-SendTh
until_so 'the verdict' /tmp/tracer.log told flapping shop

step 'Starting the collector'
start_collector /tmp/collector.log
until_so 'the verdict at the collector' /tmp/collector.log says /tmp/collector.log 'Body: Str(.*FLAPPING.*shop'
says /tmp/collector.log 'thread.name: Str(Thread-3-SendTh)\|tracer.thread: Str(Thread-3-SendTh)' ||
    fail 'the record does not name the thread' /tmp/collector.log
until_so 'the count of what was delivered' /tmp/tracer.log counted delivered 1
counted given_up 1 && fail 'records were given up' /tmp/metrics
until_so 'an event at the collector' /tmp/collector.log says /tmp/collector.log 'Body: Str(tcp_connect shop'
says /tmp/collector.log 'network.peer.port: I.*(2181)\|network.peer.port: Int(2181)' ||
    fail 'the event does not name the port' /tmp/collector.log
grep -e ResourceLog -A 40 /tmp/collector.log | head -n 60

step 'Starting the collector again, and another client'
kill "$collector"
wait "$collector" 2>/dev/null
start other flap --addr 127.0.0.1 --port $port --count 10000 --period-ms 400 --thread Reconnect
until_so 'the next verdict' /tmp/tracer.log told flapping other
start_collector /tmp/collector-again.log
until_so 'the next verdict at the collector' /tmp/collector-again.log \
    says /tmp/collector-again.log 'Body: Str(.*FLAPPING.*other'
end_tracer
