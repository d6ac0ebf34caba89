#!/bin/sh
# The first incident with the programs that it happened to: a ZooKeeper server, a client that works,
# and one whose application was stopped under it. Then the server is restarted.

cd "$(dirname "$0")" || exit
. ./real.sh

port=2181
# As a container runtime's: 64 digits.
shop=5409b0a4d1c2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8
billing=b1111a9ec0ffee00112233445566778899aabbccddeeff001122334455667788
jars=/usr/share/java
classes=
for jar in zookeeper zookeeper-jute slf4j-api slf4j-simple netty-handler netty-common \
    netty-transport netty-buffer snappy-java metrics-core commons-io; do
    classes=$classes${classes:+:}$jars/$jar.jar
done

server() {
    run /tmp/server.log $java $java_options -cp "$classes" -Dzookeeper.admin.enableServer=false \
        org.apache.zookeeper.server.ZooKeeperServerMain $port /tmp/data
    server=$started
    until_so 'starting ZooKeeper' /tmp/server.log says /tmp/server.log 'binding to port'
}

client() { # container, running or stopped, log
    run_contained "$1" 4096 "$3" $java $java_options -cp /work ZooKeeperClient 127.0.0.1:$port "$2" \
        "$classes"
}

is_well() {
    tail -n 1 /tmp/billing.log | grep -q 'Session establishment complete'
}

step 'Starting ZooKeeper from Debian'\''s packages, and two applications that use it:'
cat <<END
    billing    keeps its session; its container is ${billing%"${billing#????????????}"}
    shop       was stopped, but its client's threads live on; its container is ${shop%"${shop#????????????}"}
END
prepare_programs
server
client $billing running /tmp/billing.log
client $shop stopped /tmp/shop.log
until_so 'starting billing' /tmp/billing.log says /tmp/billing.log '^ready'
until_so 'starting shop' /tmp/shop.log says /tmp/shop.log '^ready'

step "Watching: tracer watch --port $port"
start_tracer watch --port $port --format json --record "$OUT/zookeeper.arrows"

step 'Restarting ZooKeeper. Nobody touches the applications.'
kill $server
wait $server
server
until_so 'the stopped application to fail' /tmp/shop.log \
    says /tmp/shop.log 'NoClassDefFoundError: org/apache/zookeeper/proto/SetWatches'
echo "    The log of shop: $(grep -m1 NoClassDefFoundError /tmp/shop.log)"
until_so 'tracer to name it' "$OUT/watch.jsonl" told flapping $shop
# While the server starts it turns away even those that do nothing wrong. That passes, unless an emulated
# server takes longer than a session lasts.
left=60
until is_well || [ $left -eq 0 ]; do
    left=$((left - 1))
    sleep 1
done
until_so 'tracer to name it to the server' "$OUT/watch.jsonl" told flapping '"role":"server"'
# A moment more, for its TIME_WAIT sockets to be listed.
until_so 'TIME_WAIT sockets' /proc/net/tcp6 sh -c "[ \$(grep -c ':0885 06 ' /proc/net/tcp6) -ge 3 ]"
sleep 1.5
end_tracer
says /tmp/billing.log NoClassDefFoundError && fail 'billing failed as well' /tmp/billing.log

step 'What tracer said:'
tracer --color "$COLOR" replay "$OUT/zookeeper.arrows"
