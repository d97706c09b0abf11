//! sd_notify(3): what the service manager hears.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::ClockId;

/// The most bytes of a status; `systemctl status` shows it in one line.
const STATUS_MAX: usize = 512;

/// Tells the service manager how it is. Without one, every message goes nowhere.
///
/// Nothing waits and nothing fails. A method returns `false` when the service manager has not taken
/// the message, because it does not read or is gone; [`Notify::ready`] may be worth another try.
#[derive(Debug)]
pub struct Notify(Option<Manager>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notify {
    /// The service manager of this process, if it was started by one that listens.
    #[must_use]
    pub fn from_environment() -> Notify {
        Notify::to(std::env::var_os(super::NOTIFY_SOCKET).as_deref())
    }

    fn to(name: Option<&OsStr>) -> Notify {
        Notify(name.and_then(address).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(Manager { socket, address })
        }))
    }

    /// Returns whether there is a service manager that listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// The start, or a reload, has ended, and `status` is how it is now.
    pub fn ready(&self, status: &str) -> bool {
        self.send(&format!("READY=1\n{}", line(status)))
    }

    /// How it is, in a line.
    pub fn status(&self, status: &str) -> bool {
        self.send(&line(status))
    }

    /// A reload begins; [`Notify::ready`] ends it, however it went.
    pub fn reloading(&self) -> bool {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"))
    }

    /// It stops accepting, and ends when what is open has ended.
    pub fn stopping(&self) -> bool {
        self.send("STOPPING=1\n")
    }

    /// It is alive. Sent at least once in each [`interval`](super::interval).
    pub fn watchdog(&self) -> bool {
        self.send("WATCHDOG=1\n")
    }

    /// Another process is the main one from now on, and is heard in this one's place.
    pub fn main_pid(&self, pid: u32) -> bool {
        self.send(&format!("MAINPID={pid}\n"))
    }

    fn send(&self, message: &str) -> bool {
        let Some(Manager { socket, address }) = &self.0 else { return true };
        // Not connected: a service manager that has made its socket again is reached, too.
        socket.send_to_addr(message.as_bytes(), address).is_ok()
    }
}

/// Returns the address that `NOTIFY_SOCKET` names: a path, or `@` and a name of the abstract
/// namespace. There are others (`vsock:`), which a service does not get.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

/// Returns the assignment of a status. A line end in it would begin another assignment.
fn line(status: &str) -> String {
    let mut line = String::from("STATUS=");
    for character in status.chars() {
        if line.len() + character.len_utf8() > STATUS_MAX {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    let _ = writeln!(line);
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A service manager, which hears what is sent to it.
    struct Hears(UnixDatagram);

    impl Hears {
        fn at(address: &SocketAddr) -> Hears {
            let socket = UnixDatagram::bind_addr(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            Hears(socket)
        }

        fn next(&self) -> String {
            let mut message = vec![0; 4096];
            let len = self.0.recv(&mut message).unwrap();
            String::from_utf8(message[..len].to_vec()).unwrap()
        }
    }

    #[test]
    fn each_message_is_one_datagram_of_assignments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = Hears::at(&SocketAddr::from_pathname(&path).unwrap());
        let notify = Notify::to(Some(path.as_os_str()));
        assert!(notify.is_heard());
        assert!(notify.ready("3 sites"));
        assert_eq!(manager.next(), "READY=1\nSTATUS=3 sites\n");
        assert!(notify.status("4 sites"));
        assert_eq!(manager.next(), "STATUS=4 sites\n");
        assert!(notify.stopping());
        assert_eq!(manager.next(), "STOPPING=1\n");
        assert!(notify.watchdog());
        assert_eq!(manager.next(), "WATCHDOG=1\n");
        assert!(notify.main_pid(4711));
        assert_eq!(manager.next(), "MAINPID=4711\n");
        let before = rustix::time::clock_gettime(ClockId::Monotonic).tv_sec;
        assert!(notify.reloading());
        let message = manager.next();
        let micros = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        let micros: i64 = micros.parse().unwrap();
        let after = rustix::time::clock_gettime(ClockId::Monotonic).tv_sec;
        assert!((before..=after).contains(&(micros / 1_000_000)), "{before} {micros} {after}");
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("sitar-notify-{}", std::process::id());
        let manager = Hears::at(&SocketAddr::from_abstract_name(&name).unwrap());
        assert!(Notify::to(Some(OsStr::new(&format!("@{name}")))).stopping());
        assert_eq!(manager.next(), "STOPPING=1\n");
    }

    #[test]
    fn a_status_is_one_line_and_no_other_assignment() {
        assert_eq!(line("a\nMAINPID=1\r\0b"), "STATUS=a MAINPID=1  b\n");
        let long = line(&"ü".repeat(STATUS_MAX));
        assert!(long.len() <= STATUS_MAX + 1 && long.ends_with("ü\n"), "{}", long.len());
    }

    #[test]
    fn without_a_service_manager_every_message_goes_nowhere() {
        for name in [None, Some(""), Some("relative"), Some("vsock:2:9999")] {
            let notify = Notify::to(name.map(OsStr::new));
            assert!(!notify.is_heard() && notify.ready("") && notify.watchdog(), "{name:?}");
        }
    }

    #[test]
    fn one_that_is_gone_or_does_not_read_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notify = Notify::to(Some(path.as_os_str()));
        assert!(!notify.status("nothing is there yet"));
        let manager = Hears::at(&SocketAddr::from_pathname(&path).unwrap());
        assert!(notify.status("0"));
        // Its queue is bounded; a socket that blocks would wait here for ever.
        assert!((0..1_000_000).any(|_| !notify.status("more")));
        assert_eq!(manager.next(), "STATUS=0\n");
        drop(manager);
        assert!(!notify.status("gone"));
        std::fs::remove_file(&path).unwrap();
        let manager = Hears::at(&SocketAddr::from_pathname(&path).unwrap());
        assert!(notify.status("back"));
        assert_eq!(manager.next(), "STATUS=back\n");
    }
}
