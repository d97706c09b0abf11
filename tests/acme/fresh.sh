#!/bin/sh
# The two lines that a stranger types, in a fresh root of Debian, timed to the first trusted curl.
# As root, from the top of the repository, after: cargo build --release -p sitar; cargo xtask setup.
# Needs debootstrap and curl. pebble is the authority, outside of that root; all addresses are those
# of loopback.
set -eu
pebble=$PWD/target/acme/pebble-sid/usr/bin
sitar=$PWD/target/release/sitar
place=$(mktemp -d)
root=$place/root
debootstrap --variant=minbase --include=curl bookworm "$root" > "$place/debootstrap.log"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
cd "$place"
end() {
    kill $(cat pids) 2> end.log || true
    sleep 1
    umount "$root/dev" "$root/proc"
    rm -rf "$place"
}
trap end EXIT

curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $curve -keyout ca.key -out ca.pem -days 30 -subj "/CN=root of the authority" 2> ca.log
openssl req $curve -keyout api.key -out api.csr -subj "/CN=api" 2> api.log
printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.7.1\nextendedKeyUsage=serverAuth\n' > ext
openssl x509 -req -in api.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile ext -out api.pem 2>> api.log
cat > pebble.json <<JSON
{"pebble": {"listenAddress": "127.0.7.1:14000", "managementListenAddress": "127.0.7.1:15000",
 "certificate": "api.pem", "privateKey": "api.key", "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
 "profiles": {"default": {"description": "", "validityPeriod": 7776000}}}}
JSON
"$pebble/pebble-challtestsrv" -http01 "" -https01 "" -tlsalpn01 "" -doh "" -defaultIPv6 "" \
    -defaultIPv4 127.0.7.2 -dnsserver 127.0.7.1:8053 -management 127.0.7.1:8055 > names.log 2>&1 &
echo $! > pids
PEBBLE_VA_NOSLEEP=1 "$pebble/pebble" -config pebble.json -dnsserver 127.0.7.1:8053 > pebble.log 2>&1 &
echo $! >> pids
until curl -sf --cacert ca.pem https://127.0.7.1:15000/roots/0 -o trusted.pem; do sleep 0.1; done

cp ca.pem trusted.pem "$root/"
cp "$sitar" "$root/usr/local/bin/"
mkdir "$root/srv/public"
echo hello > "$root/srv/public/index.html"
echo "127.0.7.2 example.test" >> "$root/etc/hosts"
cat > "$root/lines" <<LINES
cd /srv
sitar pack public -o site.tar
exec sitar serve site.tar --domain example.test --acme-agree-tos \
    --acme-directory https://127.0.7.1:14000/dir --acme-ca /ca.pem \
    --listen 127.0.7.2:443 --listen-http 127.0.7.2:80
LINES
begin=$(date +%s%N)
chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root sh /lines > serve.log 2>&1 &
echo $! >> pids
until chroot "$root" curl -sf --cacert /trusted.pem https://example.test/ > answer; do sleep 0.02; done
end=$(date +%s%N)
grep -q hello answer
echo "the first trusted answer came after $(((end - begin) / 1000000)) ms"
