use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;

fn address(text: &str, optional: bool) -> Address {
    Address { socket: text.parse().unwrap(), optional }
}

fn shards(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn failure(text: &str, errno: Errno) -> String {
    explain(&Failure { address: text.parse().unwrap(), errno, chosen: false }).render(false)
}

/// Binds an address that was let go. Until then, a program that another test starts may have a copy
/// of its socket, for the moment before it is that program.
fn bind_again(address: &Address, count: u16) {
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = bind(std::slice::from_ref(address), shards(count)) {
        assert!(Instant::now() < until, "free again after the first is gone: {error:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_shard_gets_its_own_socket_on_the_same_port() {
    let listeners = bind(&[address("127.0.0.1:0", false)], shards(3)).unwrap();
    assert_eq!((listeners.groups.len(), listeners.groups[0].len()), (1, 3));
    let real = listeners.addresses[0];
    assert_eq!(listeners.addresses.len(), 1);
    assert_ne!(real.port(), 0);
    for socket in &listeners.groups[0] {
        assert_eq!(socket.local_addr().unwrap(), real);
        assert!(sockopt::socket_reuseport(socket).unwrap());
        assert!(sockopt::socket_reuseaddr(socket).unwrap());
        assert!(sockopt::socket_acceptconn(socket).unwrap());
        let flags = rustix::io::fcntl_getfd(socket).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn connections_are_spread_over_all_shards() {
    let listeners = bind(&[address("127.0.0.1:0", false)], shards(2)).unwrap();
    let real = listeners.addresses[0];
    // The kernel spreads by a hash of the ports: 64 on one side only would be one chance in 2^63.
    let clients: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(real).unwrap()).collect();
    let mut accepted = 0;
    for socket in &listeners.groups[0] {
        socket.set_nonblocking(true).unwrap();
        let mut here = 0;
        while let Ok((peer, _)) = socket.accept() {
            assert!(peer.nodelay().unwrap(), "accepted sockets inherit TCP_NODELAY");
            here += 1;
        }
        assert!(here > 0, "a shard that no connection reaches");
        accepted += here;
    }
    assert_eq!(accepted, clients.len());
}

#[test]
fn a_port_that_is_ours_already_is_taken() {
    // The very case that SO_REUSEPORT would hide: same user, same options.
    // An address that no other test has, or one may take the port when it is free.
    let first = bind(&[address("127.64.0.1:0", false)], shards(2)).unwrap();
    let port = first.addresses[0].port();
    let error = bind(&[Address { socket: first.addresses[0], optional: true }], shards(2)).unwrap_err();
    let text = error.render(false);
    assert!(text.starts_with(&format!("error: cannot listen on 127.64.0.1:{port}\n")), "{text}");
    assert!(text.contains("another program listens on this port"), "{text}");
    drop(first);
    bind_again(&address(&format!("127.64.0.1:{port}"), false), 2);
}

#[test]
fn a_restart_does_not_wait_for_old_connections() {
    let first = bind(&[address("127.64.0.2:0", false)], shards(1)).unwrap();
    let real = first.addresses[0];
    let mut client = TcpStream::connect(real).unwrap();
    // The server closes first, so its side stays in TIME_WAIT.
    drop(first.groups[0][0].accept().unwrap());
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    drop(first);
    bind_again(&Address { socket: real, optional: false }, 1);
}

#[test]
fn both_families_share_a_chosen_port() {
    let listeners = bind(&[address("127.0.0.1:0", true), address("[::1]:0", true)], shards(1)).unwrap();
    // A machine without IPv6 skips its half; the port is the same wherever there are two.
    assert_eq!(listeners.addresses.len() + listeners.skipped.len(), 2);
    let port = listeners.addresses[0].port();
    assert!(listeners.addresses.iter().all(|address| address.port() == port));
    assert_eq!(listeners.groups.len(), listeners.addresses.len());
}

#[test]
fn a_missing_optional_address_is_skipped_and_a_required_one_is_not() {
    // TEST-NET-1, RFC 5737: never an address of this machine.
    let here = address("127.0.0.1:0", false);
    let listeners = bind(&[here, address("192.0.2.1:0", true)], shards(1)).unwrap();
    assert_eq!(listeners.skipped, ["192.0.2.1:0".parse::<SocketAddr>().unwrap()]);
    assert_eq!(listeners.addresses.len(), 1);

    let error = bind(&[here, address("192.0.2.1:8443", false)], shards(1)).unwrap_err();
    assert_eq!(
        error.render(false),
        "error: cannot listen on 192.0.2.1:8443\n\
         \x20 cause: this machine does not have that address\n\
         \x20 hint: see which it has: ip -brief address\n\
         \x20 hint: or listen on this machine only: --listen localhost:8443\n"
    );
    assert!(bind(&[address("192.0.2.1:0", true)], shards(1)).is_err(), "nothing at all is an error");
    let beside = bind_beside(&[address("192.0.2.1:0", true)], shards(1), true).unwrap();
    assert_eq!((beside.addresses.len(), beside.skipped.len()), (0, 1), "unless others are there");
}

#[test]
fn a_taken_port_says_who_to_ask_and_what_to_type() {
    assert_eq!(
        failure("127.0.0.1:8443", Errno::ADDRINUSE),
        "error: cannot listen on 127.0.0.1:8443\n\
         \x20 cause: another program listens on this port\n\
         \x20 hint: see which one: ss -ltnp 'sport = :8443'\n\
         \x20 hint: or take another port: --listen 127.0.0.1:9443\n"
    );
}

#[test]
fn a_privileged_port_names_the_remedies() {
    assert_eq!(
        failure("[::]:443", Errno::ACCESS),
        "error: cannot listen on [::]:443\n\
         \x20 cause: port 443 is below 1024, which needs a privilege\n\
         \x20 hint: allow it for this program: sudo setcap cap_net_bind_service=+ep \"$(command -v sitar)\"\n\
         \x20 hint: or in its systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE\n\
         \x20 hint: or for everybody: sudo sysctl net.ipv4.ip_unprivileged_port_start=443\n\
         \x20 hint: or take another port: --listen [::]:8443\n"
    );
}

#[test]
fn proposed_ports_stay_ports() {
    assert_eq!([other_port(80), other_port(443), other_port(1)], [8080, 8443, 8443]);
    assert_eq!([other_port(8443), other_port(64_535), other_port(65_535)], [9443, 65_535, 64_535]);
}
