#!/bin/sh
# Which code does it: a real JVM that flaps, with its stacks. The JVM keeps frame pointers, and tells of
# the code that it made once it is asked to, while tracer watches.

cd "$(dirname "$0")" || exit
. ./real.sh

port=6379
shop=57ac5000112233445566778899aabbccddeeff00112233445566778899aabbcc

step 'Starting Redis, and a JVM that connects to it and closes at once, again and again'
prepare_programs
run /tmp/redis.log /usr/bin/redis-server --port $port --save ''
redis_server=$started
until_so 'starting Redis' /tmp/redis.log says /tmp/redis.log 'Ready to accept connections'
# Its few methods are compiled before they run for the first time: interpreted code has no names of its own.
run_contained $shop 4096 /tmp/shop.log $java $java_options -XX:+PreserveFramePointer -Xcomp \
    -XX:CompileCommand=quiet '-XX:CompileCommand=compileonly,Reconnect::*' -cp /work Reconnect $port
runtime=$started
until_so 'starting the JVM' /tmp/shop.log says /tmp/shop.log '^ready'

step "Watching: tracer watch --port $port --stacks"
start_tracer watch --port $port --stacks --format json --record "$OUT/stacks.arrows"
until_so 'tracer to name the thread' "$OUT/watch.jsonl" told flapping $shop

step 'Asking the JVM for the names of its code: jcmd PID Compiler.perfmap'
read -r pid _ <"/proc/$runtime/task/$runtime/children"
$pin chroot /srv/image "${java%/java}/jcmd" "$pid" Compiler.perfmap ||
    fail 'the JVM wrote no perf map' /tmp/shop.log
until_so 'tracer to name the functions' "$OUT/watch.jsonl" told flapping Reconnect.tryOnce
kill -9 $runtime
wait $runtime 2>/dev/null
end_tracer
kill $redis_server

step 'What tracer said:'
tracer --color "$COLOR" replay "$OUT/stacks.arrows"
