# Runs as a service of the machine, as root. `only` is a part of the names of the checks to run.
#
# A check is a function, and fails with the first command in it that fails. It ends with 77 where
# the program cannot do yet what it is about.

port() { for d in /sys/class/virtio-ports/*; do [ "$(cat $d/name)" = $1 ] && echo /dev/${d##*/}; done; }
exec >"$(port output)" 2>&1 </dev/null
cd /root
failed=0

check() {
    case $2 in *"$only"*) ;; *) return ;; esac
    said=$( (set -eu; $2) 2>&1 )
    case $? in
        0) echo "ok       $1" ;;
        77) echo "not yet  $1: $said" ;;
        *)
            failed=1
            echo "FAILED   $1"
            { echo "$said"; journalctl --no-pager --lines 40 --output cat -u sitar.service -u sitar.socket; } |
                sed 's/^/         | /'
            ;;
    esac
    clear_all >/dev/null 2>&1
}

# Back to a machine on which sitar does not run.
clear_all() {
    systemctl stop sitar.socket sitar-http.socket sitar.service
    rm -rf /etc/systemd/system/sitar.service.d
    systemctl daemon-reload
    systemctl reset-failed
    journalctl --rotate; journalctl --vacuum-time=1s
}

get() { curl -sS --max-time 60 --cacert /etc/ssl/site.pem "https://localhost$1"; }
property() { systemctl show --value --property "$1" sitar.service; }
same() { [ "$2" = "$3" ] || { echo "$1: '$2' instead of '$3'"; return 1; }; }
has() { case $2 in *"$3"*) ;; *) echo "$1: '$2' lacks '$3'"; return 1 ;; esac; }
lacks() { case $2 in *"$3"*) echo "$1: '$2' has '$3'"; return 1 ;; esac; }
eventually() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "not within a minute: $*"; return 1; }
        sleep 0.3
    done
}
main_pid_is_not() { pid=$(property MainPID); [ "$pid" != 0 ] && [ "$pid" != "$1" ]; }
is_active() { [ "$(property ActiveState)" = active ]; }
drop_in() { mkdir -p /etc/systemd/system/sitar.service.d; cat >/etc/systemd/system/sitar.service.d/$1.conf; systemctl daemon-reload; }
can() { sitar --help | grep -q "^  $1 " || { echo "sitar has no $1"; exit 77; }; }

# The listener, and what is at its end.
configure() {
    cat >/etc/sitar/sitar.toml <<END
admin.socket = "/run/sitar/admin.sock"
[[listen]]
address = "$1"
[[site]]
hosts = ["localhost"]
root = "${2:-/srv/first}"
certificate = { chain = "/etc/ssl/site.pem", key = "/etc/ssl/private/site.key" }
END
}

prepare() {
    systemd-sysusers
    mkdir -p /etc/sitar /srv/first /srv/second
    mkdir -m 700 /etc/ssl/private
    for name in first second; do
        echo $name | tee /srv/$name/name.txt >/srv/$name/index.html
    done
    echo "keys:x:200:" >>/etc/group
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout /etc/ssl/private/site.key -out /etc/ssl/site.pem
    # As certbot leaves them: for root alone.
    chmod 600 /etc/ssl/private/site.key
    chmod 644 /etc/ssl/site.pem
}

understands_the_units() {
    said=$(systemd-analyze verify --man=no sitar.service sitar.socket sitar-http.socket 2>&1 | grep sitar || true)
    same "what is said" "$said" ""
}

is_exposed_little() {
    configure :443
    systemctl start sitar
    systemd-analyze security --no-pager --threshold=20 sitar.service | tail -n 1
}

starts_when_ready() {
    configure :443
    systemctl start sitar
    # At once: READY came when it was served.
    same "the answer" "$(get /name.txt)" first
    is_active
    has "the status" "$(property StatusText)" "1 site, certificate of localhost for 89 days"
    has "systemctl status" "$(systemctl status --no-pager sitar)" 'Status: "1 site'
}

runs_as_its_user() {
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    same "its user" "$(stat -c %U /proc/$pid)" sitar
    has "what it may" "$(grep CapBnd /proc/$pid/status)" "0000000000000404"
    has "what it may gain" "$(grep NoNewPrivs /proc/$pid/status)" 1
    same "the admin socket" "$(stat -c '%U %a' /run/sitar/admin.sock)" "sitar 600"
    has "sitar status" "$(sitar status)" "process $pid"
}

has_its_sandbox() {
    configure :443
    systemctl start sitar
    layers=$(journalctl --output cat -u sitar | grep '^  sandbox ' || true)
    [ -n "$layers" ] || { echo "sitar has no sandbox"; exit 77; }
    has "its layers" "$layers" "Landlock"
    has "its layers" "$layers" "seccomp"
}

does_not_start_with_a_mistake() {
    echo 'rot = 1' >/etc/sitar/sitar.toml
    drop_in once <<END
[Service]
Restart=no
END
    if systemctl start sitar; then echo "it started"; return 1; fi
    same "its end" "$(property Result) $(property ExecMainStatus)" "exit-code 1"
    has "what it said" "$(journalctl --output cat -u sitar)" "unknown key 'rot'"
}

reloads() {
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    configure :443 /srv/second
    systemctl reload sitar
    same "the answer" "$(get /name.txt)" second
    echo 'rot = 1' >>/etc/sitar/sitar.toml
    if systemctl reload sitar; then echo "a bad reload succeeded"; return 1; fi
    same "the answer" "$(get /name.txt)" second
    has "the status" "$(property StatusText)" "the last reload was refused"
    same "its state" "$(property ActiveState) $(property SubState)" "active running"
    configure :443 /srv/first
    systemctl reload sitar
    same "the answer" "$(get /name.txt)" first
    same "the main process" "$(property MainPID)" "$pid"
}

is_started_again_when_it_hangs() {
    configure :443
    drop_in watchdog <<END
[Service]
WatchdogSec=4s
END
    systemctl start sitar
    pid=$(property MainPID)
    # It is fed for longer than that.
    sleep 10
    same "the main process" "$(property MainPID)" "$pid"
    kill -STOP "$pid"
    eventually main_pid_is_not "$pid"
    eventually is_active
    same "the answer" "$(get /name.txt)" first
    has "the journal" "$(journalctl --output cat -u sitar)" "Watchdog timeout"
}

is_started_again_when_it_crashes() {
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    kill -KILL "$pid"
    eventually main_pid_is_not "$pid"
    eventually is_active
    same "the answer" "$(get /name.txt)" first
}

is_started_by_a_request() {
    configure systemd:https
    systemctl start sitar.socket
    same "its state" "$(property ActiveState)" inactive
    same "the answer" "$(get /name.txt)" first
    is_active
    same "the answer over IPv6" "$(curl -sS -6 --cacert /etc/ssl/site.pem https://localhost/name.txt)" first
    has "what it listens on" "$(sitar status)" "0.0.0.0:443"
}

refuses_nothing_in_a_restart() {
    configure systemd:https
    systemctl start sitar.socket
    clients >answers &
    sleep 1
    systemctl restart sitar
    systemctl restart sitar
    wait
    same "the answers" "$(sort answers | uniq -c | tr -s ' ')" " 20 first"
}

# A connection that is accepted and has not asked yet may end with the process, and is made again.
clients() {
    client=0
    while [ $client -lt 20 ]; do
        until get /name.txt; do
            [ $? != 7 ] || echo refused
        done
        client=$((client + 1))
    done
}

takes_two_sockets_by_name() {
    configure systemd:https
    cat >>/etc/sitar/sitar.toml <<END
[[listen]]
address = "systemd:http"
redirect = "https"
END
    systemctl start sitar.socket sitar-http.socket
    has "the redirect" "$(curl -sS -i http://localhost/name.txt)" "https://localhost/name.txt"
    same "the answer" "$(get /name.txt)" first
}

names_a_socket_that_is_missing() {
    configure systemd:other
    drop_in once <<END
[Service]
Restart=no
END
    systemctl start sitar.socket
    if systemctl start sitar; then echo "it started"; return 1; fi
    has "what it said" "$(journalctl --output cat -u sitar)" "systemd passes no socket with the name 'other': it passes 'https'"
}

runs_as_a_dynamic_user() {
    drop_in dynamic-user </usr/share/sitar/dynamic-user.conf
    drop_in group <<END
[Service]
SupplementaryGroups=keys
END
    chgrp keys /etc/ssl/private /etc/ssl/private/site.key
    chmod 710 /etc/ssl/private; chmod 640 /etc/ssl/private/site.key
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    user=$(stat -c %u /proc/$pid)
    [ "$user" -ge 61184 ] && [ "$user" -le 65519 ] || { echo "the user is $user"; return 1; }
    same "the answer" "$(get /name.txt)" first
    systemctl reload sitar
    systemd-analyze security --no-pager --threshold=20 sitar.service | tail -n 1
}

keeps_its_authority_as_a_dynamic_user() {
    drop_in dynamic-user </usr/share/sitar/dynamic-user.conf
    printf '[[listen]]\naddress = ":443"\n[[site]]\nroot = "/srv/first"\n' >/etc/sitar/sitar.toml
    systemctl start sitar
    authority=$(find /var/lib/private/sitar -name '*.pem' | sort | head -n 1)
    before=$(sha256sum "$authority")
    systemctl restart sitar
    same "the authority" "$(sha256sum "$authority")" "$before"
}

runs_with_a_separate_user() {
    drop_in separate-user </usr/share/sitar/separate-user.conf
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    same "the user" "$(stat -c %U /proc/$pid)" root
    has "what it may" "$(grep CapBnd /proc/$pid/status)" "00000000000004e4"
    same "the answer" "$(get /name.txt)" first
}

is_upgraded() {
    can upgrade
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    sitar upgrade
    eventually main_pid_is_not "$pid"
    same "its state" "$(property ActiveState) $(property SubState)" "active running"
    same "the answer" "$(get /name.txt)" first
    next=$(property MainPID)
    kill -USR2 "$next"
    eventually main_pid_is_not "$next"
    is_active
    same "restarts" "$(property NRestarts)" 0
    # The successor is heard and watched as the first one was.
    systemctl reload sitar
    pid=$(property MainPID)
    kill -KILL "$pid"
    eventually main_pid_is_not "$pid"
    eventually is_active
    lacks "the journal" "$(journalctl --output cat -u sitar)" "not our child"
}

waits_at_a_stop_behind_an_upgrade() {
    can upgrade
    configure :443
    systemctl start sitar
    pid=$(property MainPID)
    sitar upgrade
    eventually main_pid_is_not "$pid"
    head -c 32000000 /dev/zero >/srv/first/large
    systemctl reload sitar
    curl -sS --limit-rate 4M --cacert /etc/ssl/site.pem --output large https://localhost/large &
    eventually [ -s large ]
    systemctl stop sitar
    wait $!
    same "bytes of the download" "$(stat -c %s large)" 32000000
    same "its end" "$(property Result)" success
    lacks "the journal" "$(journalctl --output cat -u sitar)" "SIGKILL"
}

stops() {
    configure :443
    systemctl start sitar
    systemctl stop sitar
    same "its end" "$(property ActiveState) $(property Result)" "inactive success"
    [ ! -e /run/sitar ]
    if get /name.txt; then echo "it answers"; return 1; fi
}

prepare >/dev/null 2>&1
echo "systemd $(systemctl --version | head -n 1 | cut -d' ' -f2), Linux $(uname -r), $(sitar --version)"
check "the units are understood" understands_the_units
check "a start returns when requests are answered, and the status is shown" starts_when_ready
check "it runs as its user, with two capabilities" runs_as_its_user
check "the units leave its sandbox whole" has_its_sandbox
check "the exposure is at most 2.0" is_exposed_little
check "a configuration with a mistake does not start" does_not_start_with_a_mistake
check "a reload succeeds or fails as the configuration does" reloads
check "a process that hangs is started again" is_started_again_when_it_hangs
check "a process that is killed is started again" is_started_again_when_it_crashes
check "a request starts it" is_started_by_a_request
check "no request is refused while it is started again" refuses_nothing_in_a_restart
check "two sockets have names" takes_two_sockets_by_name
check "a socket that is missing is named" names_a_socket_that_is_missing
check "it runs as a dynamic user" runs_as_a_dynamic_user
check "its own authority outlives a dynamic user" keeps_its_authority_as_a_dynamic_user
check "it runs as root with few capabilities" runs_with_a_separate_user
check "an upgrade changes the main process" is_upgraded
check "a stop behind an upgrade waits for a download" waits_at_a_stop_behind_an_upgrade
check "a stop is clean" stops
echo $failed >"$(port code)"
sync
systemctl reboot --force --force
