//! Descriptors over exec: a parent opens a listener and a file, and a child, which is this program
//! again, takes them over and serves. Alone in its process, whose descriptors lose close-on-exec
//! for a moment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
// Starting programs is beyond an interpreter.
#![cfg(not(miri))]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, socket};
use sitar_io::inherit::{self, Kind, NotInherited};
use sitar_io::{Config, Engine, Event, File, Key, ReadBuf, Ring, SendBuf};

const CONFIG: Config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };
/// Numbers of the descriptors that the child inherits: listener, file, datagram socket, directory.
const NUMBERS: &str = "SITAR_IO_INHERITED";

/// Serves what is in the file to one connection.
fn serve<E: Engine>(mut ring: Ring<E>, listener: RawFd, file: RawFd) {
    let socket = inherit::take(listener, Kind::Listener).unwrap();
    let file: File = inherit::take(file, Kind::File).unwrap().into();
    let listener = ring.listener(socket, Key(0));
    ring.accept(&listener).unwrap();
    let mut held = None;
    loop {
        ring.wait(None).unwrap();
        while let Some(event) = ring.next() {
            match event {
                Event::Accepted { conn, .. } => {
                    let tx = ring.take_tx().unwrap();
                    ring.read(&file, 0, ReadBuf::Tx(tx, 0..1024), Key(1)).unwrap();
                    held = Some(conn);
                }
                Event::Read { buf: ReadBuf::Tx(mut tx, _), result, .. } => {
                    tx.set_filled(result.unwrap());
                    ring.send(held.as_ref().unwrap(), SendBuf::Tx(tx), 0).unwrap();
                }
                Event::Sent { .. } => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn child(numbers: &str) {
    let numbers: Vec<RawFd> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
    let [listener, file, udp, folder] = numbers[..] else { panic!("{numbers:?}") };
    // What it is not is refused, and does not use it up.
    for (number, kinds) in [
        (listener, [Kind::Datagrams, Kind::File, Kind::Directory, Kind::Stream]),
        (file, [Kind::Listener, Kind::Datagrams, Kind::Directory, Kind::Stream]),
        (udp, [Kind::Listener, Kind::File, Kind::Directory, Kind::Stream]),
        (folder, [Kind::Listener, Kind::Datagrams, Kind::File, Kind::Stream]),
    ] {
        for kind in kinds {
            assert_eq!(inherit::take(number, kind).unwrap_err(), NotInherited::AnotherKind(kind));
        }
    }
    odd_kinds();
    // This program's own.
    let own = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(inherit::take(own.as_raw_fd(), Kind::File).unwrap_err(), NotInherited::OwnedHere);
    let number = own.as_raw_fd();
    drop(own);
    assert_eq!(inherit::take(number, Kind::File).unwrap_err(), NotInherited::Closed);
    for number in [-1, RawFd::MIN, RawFd::MAX] {
        assert_eq!(inherit::take(number, Kind::File).unwrap_err(), NotInherited::Closed);
    }

    // Standard input stays std's.
    let input = inherit::take(0, Kind::Stream).unwrap();
    assert!(input.as_raw_fd() > 2);
    let mut word = [0; 4];
    std::fs::File::from(input).read_exact(&mut word).unwrap();
    assert_eq!(&word, b"word");
    std::io::stdin().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"next");

    // Of two threads one gets it.
    let both = std::thread::scope(|scope| {
        let take = || inherit::take(folder, Kind::Directory);
        let other = scope.spawn(take);
        [take(), other.join().unwrap()]
    });
    assert_eq!(both.iter().filter(|taken| taken.is_ok()).count(), 1);
    assert!(both.iter().flatten().all(|fd| rustix::io::fcntl_getfd(fd).unwrap() == FdFlags::CLOEXEC));
    drop(both);
    let socket = inherit::take(udp, Kind::Datagrams).unwrap();

    match Ring::uring(&CONFIG) {
        Ok(ring) => serve(ring, listener, file),
        // Where io_uring is forbidden; the engines' tests say so.
        Err(_) => serve(Ring::epoll(&CONFIG).unwrap(), listener, file),
    }
    drop(socket);
    // Not again, also when it is closed.
    for (number, kind) in [
        (0, Kind::Stream),
        (listener, Kind::Listener),
        (file, Kind::File),
        (udp, Kind::Datagrams),
        (folder, Kind::Directory),
    ] {
        assert_eq!(inherit::take(number, kind).unwrap_err(), NotInherited::Taken);
    }
}

/// What is nearly of a kind. As everything here it is opened without close-on-exec, like something
/// inherited.
fn odd_kinds() {
    let open = |path: &str, flags| rustix::fs::open(path, flags, Mode::empty()).unwrap().into_raw_fd();
    let plain = |fd: OwnedFd| {
        fcntl_setfd(&fd, FdFlags::empty()).unwrap();
        fd.into_raw_fd()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = plain(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let exe = "/proc/self/exe";
    for (number, kinds) in [
        (connected, &[Kind::Listener, Kind::Datagrams, Kind::File][..]),
        (plain(bound), &[Kind::Listener, Kind::Datagrams]),
        (plain(reader.into()), &[Kind::File, Kind::Listener]),
        (plain(writer.into()), &[Kind::File, Kind::Directory]),
        (open("/dev/null", OFlags::WRONLY), &[Kind::File]),
        // Names only, of which nothing can be read.
        (open(exe, OFlags::PATH), &[Kind::File, Kind::Stream]),
        (open("/dev/null", OFlags::PATH), &[Kind::File, Kind::Stream]),
    ] {
        for kind in kinds {
            assert_eq!(
                inherit::take(number, *kind).unwrap_err(),
                NotInherited::AnotherKind(*kind),
                "{number}"
            );
        }
    }
    assert!(inherit::take(connected, Kind::Stream).is_ok());
    assert_eq!(inherit::take(connected, Kind::Stream).unwrap_err(), NotInherited::Taken);
}

#[test]
fn a_child_serves_with_what_it_has_inherited() {
    if let Ok(numbers) = std::env::var(NUMBERS) {
        return child(&numbers);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = sitar_io::sim::World::file(b"served by a child").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = std::fs::File::open("/proc/self").unwrap();
    let passed: [BorrowedFd<'_>; 4] = [listener.as_fd(), file.as_fd(), udp.as_fd(), folder.as_fd()];
    let numbers = passed.map(|fd| fd.as_raw_fd().to_string()).join(",");
    for fd in passed {
        fcntl_setfd(fd, FdFlags::empty()).unwrap();
    }
    let name = "a_child_serves_with_what_it_has_inherited";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(NUMBERS, numbers)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"wordnext").unwrap();
    let address = listener.local_addr().unwrap();
    // From here on the child alone has them.
    drop((listener, udp, folder));
    let mut peer = TcpStream::connect(address).unwrap();
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"served by a child");
    assert!(child.wait().unwrap().success());
}
