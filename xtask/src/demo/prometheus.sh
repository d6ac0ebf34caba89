#!/bin/sh
# A real Prometheus reads the metrics of a real tracer, with the alert rules that the project hands
# out: the alert must come for the program that flaps, and for nobody who is healthy.

cd "$(dirname "$0")" || exit
. ./real.sh

port=2181
address=http://127.0.0.1:9090

query() { # file for the answer, expression
    "$PROGRAMS/usr/bin/promtool" query instant --format=json $address "$2" >"$1" 2>/tmp/promtool.log
}

scraped() {
    query /tmp/up.json 'up{job="tracer"} == 1' && grep -q '"tracer"' /tmp/up.json
}

fires() {
    query "$OUT/alerts.jsonl" 'ALERTS{alertstate="firing"}' &&
        grep -q TracerFlapping "$OUT/alerts.jsonl"
}

step 'Starting a server, an innocent client of it, and tracer as a service'
start zookeeper serve --port $port --family loopback
start monitor keep --addr 127.0.0.1 --port $port
start_tracer serve --port $port

step 'Starting Prometheus with the rules of deploy/prometheus'
cat >/tmp/prometheus.yml <<END
global: {scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 5s}
rule_files: [$PWD/tracer.rules.yml]
scrape_configs:
  - job_name: tracer
    static_configs: [{targets: ["127.0.0.1:9740"]}]
END
"$PROGRAMS/usr/bin/prometheus" --config.file=/tmp/prometheus.yml --storage.tsdb.path=/tmp/prometheus \
    --web.listen-address=127.0.0.1:9090 >/tmp/prometheus.log 2>&1 </dev/null &
until_so 'the first scrape' /tmp/prometheus.log scraped
fires && fail 'there is an alert although all is well' "$OUT/alerts.jsonl"

step 'Starting a client that connects, closes and tries again, and waiting for the alert'
start shop flap --addr 127.0.0.1 --port $port --count 10000 --period-ms 400 --thread Thread-3-SendTh
until_so 'the alert' /tmp/prometheus.log fires
cat "$OUT/alerts.jsonl"
end_tracer
