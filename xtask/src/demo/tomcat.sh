#!/bin/sh
# The second incident with the programs that it happened to: a web application of 228 jars in
# Tomcat, a low limit of descriptors, a pool of connections to Redis that takes half of them, and a
# request that uses a class for the first time.

cd "$(dirname "$0")" || exit
. ./real.sh

port=8080
redis=6379
limit=512
pool=250
tomcat=70a3ca7000112233445566778899aabbccddeeff00112233445566778899aabb
home=/usr/share/tomcat10
base=/tmp/tomcat

deploy() {
    application=/srv/image$base/webapps/shop/WEB-INF
    mkdir -p "$application/lib" "$application/classes"
    for folder in conf logs temp work; do
        mkdir -p "/srv/image$base/$folder"
    done
    cp Shop.class "$application/classes/"
    # 228 of them, as in the incident; what is inside does not matter.
    cp -L /srv/image/usr/share/java/slf4j-nop.jar /tmp/library.jar
    number=1
    while [ $number -le 228 ]; do
        cp /tmp/library.jar "$application/lib/library-$number.jar"
        number=$((number + 1))
    done
    cat >"/srv/image$base/conf/server.xml" <<END
<Server port="-1"><Service name="Catalina">
  <Connector port="$port" address="127.0.0.1"/>
  <Engine name="Catalina" defaultHost="localhost"><Host name="localhost" appBase="webapps"/></Engine>
</Service></Server>
END
    cat >"$application/web.xml" <<END
<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0" metadata-complete="true">
  <absolute-ordering/>
  <servlet>
    <servlet-name>shop</servlet-name><servlet-class>Shop</servlet-class>
    <init-param><param-name>pool</param-name><param-value>$pool</param-value></init-param>
    <init-param><param-name>redis</param-name><param-value>$redis</param-value></init-param>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet-mapping><servlet-name>shop</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
</web-app>
END
}

get() { # query
    wget -q -O - "http://127.0.0.1:$port/shop/$1" 2>/dev/null
}

pool_is_full() {
    [ "$(get '')" = "connections $pool" ]
}

step "Starting Redis, and Tomcat with a web application of 228 jars and a limit of $limit descriptors"
prepare_programs
deploy
run /tmp/redis.log /usr/bin/redis-server --port $redis --save ''
redis_server=$started
until_so 'starting Redis' /tmp/redis.log says /tmp/redis.log 'Ready to accept connections'
# A JVM raises its own limit to the hard one unless it is told not to.
run_contained $tomcat $limit /tmp/tomcat.log $java $java_options -XX:-MaxFDLimit \
    -Dcatalina.home=$home -Dcatalina.base=$base -Djava.io.tmpdir=$base/temp \
    -cp $home/bin/bootstrap.jar:$home/bin/tomcat-juli.jar \
    org.apache.catalina.startup.Bootstrap start
runtime=$started
until_so 'filling the pool of connections to Redis' /tmp/tomcat.log pool_is_full
echo "    Tomcat runs: $pool connections to Redis, one of them replaced twice a second."

step 'Watching: tracer watch --flight 2m, which keeps the minutes before a fault'
start_tracer watch --format json --record "$OUT/tomcat.arrows" \
    --flight 2m --dump-dir "$OUT/dumps" --on fd_burst,fd_exhaustion --dump-after 5s

step 'A request uses a class for the first time'
# Its answer may take long: each class that is missing then is looked for in all jars again.
get '?first' >/dev/null &
until_so 'the pool to fail' /tmp/tomcat.log says /tmp/tomcat.log 'redis-pool: java.net.SocketException'
echo "    The log of Tomcat: $(grep -m1 'redis-pool: java.net.SocketException' /tmp/tomcat.log)"
until_so 'tracer to name it' "$OUT/watch.jsonl" told fd_burst $tomcat
until_so 'tracer to name the full table' "$OUT/watch.jsonl" told fd_exhaustion $tomcat
until_so 'the dump of the minutes before' /tmp/tracer.log says /tmp/tracer.log 'dumped the minutes'
# Everybody restarts everything, and the evidence is gone.
kill -9 $runtime
wait $runtime 2>/dev/null
kill $redis_server
end_tracer

step 'What tracer kept, read after Tomcat was killed:'
tracer --color "$COLOR" replay "$OUT"/dumps/*.arrows
tracer replay --format json "$OUT"/dumps/*.arrows >"$OUT/dump.jsonl"
