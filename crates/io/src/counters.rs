//! Counters that the kernel keeps for a thread of another process (perf_event_open(2)): for
//! measuring a server from outside, not for its own path.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The passes of a tracepoint, by its number in tracefs.
    Tracepoint(u64),
    /// Instructions in user mode, or of the kernel too: an event of the CPU, which virtual machines
    /// often lack.
    Instructions {
        /// Whether those of the kernel are left out, which takes fewer rights.
        user_only: bool,
    },
}

/// The start of `struct perf_event_attr`, which the kernel takes for all of it
/// (PERF_ATTR_SIZE_VER1, Linux 2.6.33).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    /// With a probe: the address of the file's name.
    config1: u64,
    /// With a probe: the place in the file.
    config2: u64,
}

// linux/perf_event.h
const TYPE_HARDWARE: u32 = 0;
const TYPE_TRACEPOINT: u32 = 2;
const HARDWARE_INSTRUCTIONS: u64 = 1;
const FORMAT_TIMES: u64 = 1 | 2;
const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const FLAG_CLOEXEC: u64 = 1 << 3;
/// `_IOW('$', 6, char *)` of a 64-bit kernel.
const SET_FILTER: u64 = 0x4008_2406;
/// `_IO('$', 0)`.
const ENABLE: u64 = 0x2400;

/// A counter of one thread, which counts from its making on, and threads that this one starts.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// Counts in a thread, by its number. Of a tracepoint, only passes that the filter lets through
    /// count, such as `id == 426`.
    ///
    /// # Errors
    /// Those of perf_event_open(2): EACCES or EPERM where `kernel.perf_event_paranoid` forbids it,
    /// ENOENT or EOPNOTSUPP where the machine has no such counter, ESRCH for no such thread.
    pub fn open(kind: Kind, thread: u32, filter: Option<&CStr>) -> io::Result<Counter> {
        let (kind, config, flags) = match kind {
            Kind::Tracepoint(number) => (TYPE_TRACEPOINT, number, 0),
            Kind::Instructions { user_only: true } => {
                (TYPE_HARDWARE, HARDWARE_INSTRUCTIONS, EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR)
            }
            Kind::Instructions { user_only: false } => (TYPE_HARDWARE, HARDWARE_INSTRUCTIONS, 0),
        };
        Counter::make(Attributes { kind, config, flags, ..Attributes::default() }, thread, filter)
    }

    /// Counts in a thread how often it comes to a place in a file that it runs, such as the first
    /// instruction of a function in a library (uprobe, Linux 4.17). `kind` is the number of the
    /// kernel's source of such events, which `/sys/bus/event_source/devices/uprobe/type` says.
    ///
    /// # Errors
    /// As for [`open`](Counter::open); it takes CAP_PERFMON or root.
    pub fn open_probe(kind: u32, file: &CStr, offset: u64, thread: u32) -> io::Result<Counter> {
        let config1 = file.as_ptr() as u64;
        Counter::make(Attributes { kind, config1, config2: offset, ..Attributes::default() }, thread, None)
    }

    /// Addresses in the attributes have to be those of values that live for the call.
    fn make(attributes: Attributes, thread: u32, filter: Option<&CStr>) -> io::Result<Counter> {
        let thread = libc::pid_t::try_from(thread).map_err(|_| io::ErrorKind::InvalidInput)?;
        let attributes = Attributes {
            size: size_of::<Attributes>() as u32,
            read_format: FORMAT_TIMES,
            // Until the filter is there.
            flags: attributes.flags | DISABLED | INHERIT,
            ..attributes
        };
        let (any_cpu, no_group): (libc::c_int, libc::c_int) = (-1, -1);
        // SAFETY: the kernel reads `size` bytes of the attributes, which live for the call, and the
        // name of a probe's file, which the caller of `open_probe` lends for as long.
        let done = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                std::ptr::from_ref(&attributes),
                thread,
                any_cpu,
                no_group,
                FLAG_CLOEXEC,
            )
        };
        let fd = RawFd::try_from(done).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
        let counter = Counter(unsafe { OwnedFd::from_raw_fd(fd) });
        if let Some(filter) = filter {
            // SAFETY: the descriptor is that of an event; the kernel reads the text, which ends
            // with a zero and lives for the call.
            let done = unsafe { libc::ioctl(counter.0.as_raw_fd(), SET_FILTER as _, filter.as_ptr()) };
            if done < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the descriptor is that of an event; the argument is a number.
        let done = unsafe { libc::ioctl(counter.0.as_raw_fd(), ENABLE as _, 0) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(counter) }
    }

    /// Returns the count so far; `None` where the CPU had no counter left for it all of the time.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self) -> io::Result<Option<u64>> {
        let mut bytes = [0; 24];
        let len = rustix::io::read(&self.0, &mut bytes)?;
        let number = |at: usize| {
            let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
            part.map(u64::from_ne_bytes).unwrap_or_default()
        };
        if len != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (enabled, running) = (number(8), number(16));
        Ok((running >= enabled).then(|| number(0)))
    }
}

macro_rules! calls {
    ($($(#[$attribute:meta])* $name:ident: $number:ident),* $(,)?) => {
        /// System calls that a server might make while it serves, with their numbers on this
        /// architecture.
        pub static SYSTEM_CALLS: &[(&str, i64)] =
            &[$($(#[$attribute])* (stringify!($name), libc::$number)),*];
    };
}

calls! {
    io_uring_enter: SYS_io_uring_enter,
    #[cfg(target_arch = "x86_64")]
    epoll_wait: SYS_epoll_wait,
    epoll_pwait: SYS_epoll_pwait,
    epoll_pwait2: SYS_epoll_pwait2,
    epoll_ctl: SYS_epoll_ctl,
    accept4: SYS_accept4,
    recvfrom: SYS_recvfrom,
    recvmsg: SYS_recvmsg,
    sendto: SYS_sendto,
    sendmsg: SYS_sendmsg,
    read: SYS_read,
    pread64: SYS_pread64,
    write: SYS_write,
    writev: SYS_writev,
    close: SYS_close,
    statx: SYS_statx,
    openat: SYS_openat,
    setsockopt: SYS_setsockopt,
    getsockopt: SYS_getsockopt,
    ppoll: SYS_ppoll,
    futex: SYS_futex,
    madvise: SYS_madvise,
    mmap: SYS_mmap,
    munmap: SYS_munmap,
    brk: SYS_brk,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_are_those_of_the_second_version() {
        assert_eq!(size_of::<Attributes>(), 72);
        assert_eq!(std::mem::offset_of!(Attributes, flags), 40);
    }

    /// A tracepoint that no kernel has, and a thread that no process has.
    #[test]
    fn what_cannot_be_counted_is_an_error() {
        assert!(Counter::open(Kind::Tracepoint(u64::MAX), 0, None).is_err());
        assert!(Counter::open(Kind::Tracepoint(0), u32::MAX, None).is_err());
    }

    #[test]
    fn calls_of_this_thread_are_counted_by_number() {
        let file = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";
        let Ok(id) = std::fs::read_to_string(file) else {
            return println!("skipped: tracefs is not there for this user");
        };
        let kind = Kind::Tracepoint(id.trim().parse().unwrap());
        let filter = std::ffi::CString::new(format!("id == {}", libc::SYS_getppid)).unwrap();
        let counter = match Counter::open(kind, 0, Some(&filter)) {
            Ok(counter) => counter,
            Err(error) => return println!("skipped: {error}"),
        };
        for _ in 0..1000 {
            let _ = rustix::process::getppid();
        }
        assert_eq!(counter.read().unwrap(), Some(1000));
    }
}
