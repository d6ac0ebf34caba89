#!/bin/sh
# Programs that do a lot and nothing wrong, for real: a build, a package's installation, a shell
# loop, JVMs that start, a web server under load and a database with a pool of clients. The only
# thing to tell of them is who opens a connection for each request.

cd "$(dirname "$0")" || exit
. ./real.sh

web=8080
redis=6379

build() {
    mkdir -p /tmp/build && cd /tmp/build || exit
    number=1
    while [ $number -le 12 ]; do
        printf '#include <stdio.h>\nint part%d(void) { return printf("%d"); }\n' $number $number \
            >part$number.c
        number=$((number + 1))
    done
    printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n' >Makefile
    make -s -j 4
    cd /work || exit
}

install_package() {
    mkdir -p /tmp/package/DEBIAN /tmp/package/usr/share/many /tmp/target/var/lib/dpkg
    printf 'Package: many\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@o.example>\nDescription: files\n' \
        >/tmp/package/DEBIAN/control
    seq 600 | while read -r number; do
        echo "$number" >/tmp/package/usr/share/many/file-"$number"
    done
    dpkg-deb -Znone -b /tmp/package /tmp/many.deb
    : >/tmp/target/var/lib/dpkg/status
    dpkg --root=/tmp/target --log=/dev/null -i /tmp/many.deb
}

shell_loop() {
    for number in $(seq 60); do
        cat /etc/hostname /etc/passwd | grep -c root
    done
}

step 'Preparing a web server and a database from Debian'\''s packages'
prepare_programs
mkdir -p /srv/image/tmp/www /srv/image/tmp/nginx
head -c 20000 /dev/zero >/srv/image/tmp/www/index.html
cat >/srv/image/tmp/nginx.conf <<END
user root;
daemon off;
pid /tmp/nginx/pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path /tmp/nginx; proxy_temp_path /tmp/nginx; fastcgi_temp_path /tmp/nginx;
    uwsgi_temp_path /tmp/nginx; scgi_temp_path /tmp/nginx;
    server { listen 127.0.0.1:$web; root /tmp/www; }
}
END
run /tmp/redis.log /usr/bin/redis-server --port $redis --save ''
until_so 'starting Redis' /tmp/redis.log says /tmp/redis.log 'Ready to accept connections'

step 'Watching everything: tracer watch'
start_tracer watch --format json --record "$OUT/healthy.arrows"

step 'Doing a lot'
run /tmp/nginx.log /usr/sbin/nginx -e stderr -c /tmp/nginx.conf
until_so 'starting nginx' /tmp/nginx.log wget -q -O /dev/null "http://127.0.0.1:$web/"
for activity in build install_package shell_loop; do
    echo "    $activity"
    $activity >/tmp/$activity.log 2>&1 || fail "$activity" /tmp/$activity.log
done
echo '    JVMs that start'
for number in 1 2; do
    run /tmp/java.log $java $java_options -version
    wait $started || fail 'a JVM' /tmp/java.log
done
echo '    a pool of database clients'
run /tmp/pool.log /usr/bin/redis-benchmark -p $redis -c 40 -n 2000 -t get -q
wait $started || fail 'redis-benchmark' /tmp/pool.log
echo '    web clients with keep-alive'
run /tmp/kept.log /usr/bin/ab -k -q -c 8 -n 500 "http://127.0.0.1:$web/"
wait $started || fail 'ab' /tmp/kept.log
echo '    a web client without'
run /tmp/churn.log /usr/bin/ab -q -c 4 -n 150 "http://127.0.0.1:$web/"
wait $started || fail 'ab' /tmp/churn.log
until_so 'tracer to name the client without keep-alive' "$OUT/watch.jsonl" \
    told churn '"role":"client"' '"comm":"ab"'
end_tracer

step 'What tracer said:'
tracer --color "$COLOR" replay "$OUT/healthy.arrows"
