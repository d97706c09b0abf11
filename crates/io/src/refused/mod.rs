//! Refused attempts: system calls that a seccomp filter turned down, and ring operations that a
//! restricted ring did, counted for the whole process.
//!
//! A filter that answers with SECCOMP_RET_TRAP raises SIGSYS in the thread that called. The handler
//! here counts, says so once for each call, and lets the call end with EPERM, so that a list from
//! which something is missing costs that call and not the process.

mod line;
mod names;

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use self::line::Text;
pub use self::line::{Line, Time};
use crate::uring::OPERATIONS;

/// Numbers of system calls that are counted each; all others are counted together. The largest in
/// use is below 480.
const NUMBERS: usize = 512;

static CALLS: [AtomicU64; NUMBERS + 1] = [const { AtomicU64::new(0) }; NUMBERS + 1];
/// By their places in [`OPERATIONS`]; the last is for those that this process did not ask for.
static RING_OPERATIONS: [AtomicU64; OPERATIONS.len() + 1] =
    [const { AtomicU64::new(0) }; OPERATIONS.len() + 1];
/// What the line of the handler is made of.
static LINE: OnceLock<fn() -> &'static Line> = OnceLock::new();

/// The name of ring operations that no method of a ring asked for.
pub const UNKNOWN: &str = "unknown";

/// Returns the kernel's name of a system call of this architecture.
#[must_use]
pub fn call_name(number: u32) -> Option<&'static str> {
    names::name(number)
}

/// Returns the number of a system call, `None` where this architecture has none of that name.
#[must_use]
pub fn call_number(name: &str) -> Option<u32> {
    names::number(name)
}

/// Returns the system calls that were refused since [`catch_calls`], with how often. Those without
/// a name here are `None`.
#[must_use]
pub fn calls() -> Vec<(Option<&'static str>, u64)> {
    let counts = CALLS.iter().map(|count| count.load(Ordering::Relaxed));
    let named = (0..).zip(counts).filter(|(_, count)| *count > 0);
    named.map(|(number, count)| (names::name(number), count)).collect()
}

/// Returns the ring operations that were refused, by their names in `linux/io_uring.h`, with how
/// often; [`UNKNOWN`] for those that this crate did not ask for.
#[must_use]
pub fn operations() -> Vec<(&'static str, u64)> {
    let names = OPERATIONS.iter().map(|(name, _)| *name).chain([UNKNOWN]);
    let counts = RING_OPERATIONS.iter().map(|count| count.load(Ordering::Relaxed));
    names.zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Counts a ring operation that ended with EACCES on a ring that is restricted.
#[cold]
pub(crate) fn count_operation(name: Option<&str>) {
    let place = OPERATIONS.iter().position(|(other, _)| Some(*other) == name);
    if let Some(count) = RING_OPERATIONS.get(place.unwrap_or(OPERATIONS.len())) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has system calls counted that a seccomp filter refuses with SECCOMP_RET_TRAP: they end with
/// EPERM. The first refusal of each call is said on standard error, in a line that is made of
/// `line`. That is called by a signal handler: it may read atomics, and nothing more.
///
/// The handler holds for all threads. A thread that blocks SIGSYS, as glibc does while it starts or
/// ends a thread, is killed by a refusal with the whole process.
///
/// # Errors
/// Those of sigaction(2); `Unsupported` on architectures other than x86-64 and AArch64.
pub fn catch_calls(line: fn() -> &'static Line) -> io::Result<()> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let _ = LINE.set(line);
    // SAFETY: all fields of `sigaction` are integers and an optional function, for which zero is a
    // value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_refusal;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the structure lives for the call. The handler has the form that SA_SIGINFO asks for,
    // and does what a handler may: see there.
    let done = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The beginning of `siginfo_t` of a SIGSYS (sigaction(2)): libc has no such view of it.
#[repr(C)]
struct SysInfo {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    address: *const libc::c_void,
    call: libc::c_int,
    architecture: libc::c_uint,
}

/// `SYS_SECCOMP` of asm-generic/siginfo.h: a filter raised the signal, and no program.
const BY_SECCOMP: libc::c_int = 1;

/// Handles SIGSYS.
///
/// Async-signal-safe: it reads what the kernel has put on this thread's stack, counts in atomics,
/// and calls clock_gettime(2), ppoll(2) and write(2) alone. It neither allocates nor locks nor
/// panics, and keeps errno.
extern "C" fn on_refusal(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `siginfo_t`, 128 bytes long, of
    // which the first three fields always have a value.
    let code = unsafe { (*info.cast::<SysInfo>()).code };
    if code != BY_SECCOMP {
        return;
    }
    // SAFETY: as above; with this code, the number of the call is there too.
    let call = unsafe { (*info.cast::<SysInfo>()).call };
    // SAFETY: the kernel gives it the context of the thread that was interrupted, which nothing
    // else refers to while the handler runs.
    refuse(unsafe { &mut *context.cast::<libc::ucontext_t>() });
    let number = usize::try_from(call).map_or(NUMBERS, |number| number.min(NUMBERS));
    let Some(count) = CALLS.get(number) else { return };
    if count.fetch_add(1, Ordering::Relaxed) == 0 {
        say(u32::try_from(call).unwrap_or(u32::MAX));
    }
}

/// Has the call that was refused return EPERM.
fn refuse(context: &mut libc::ucontext_t) {
    #[cfg(target_arch = "x86_64")]
    if let Some(rax) = context.uc_mcontext.gregs.get_mut(libc::REG_RAX as usize) {
        *rax = -libc::greg_t::from(libc::EPERM);
    }
    #[cfg(target_arch = "aarch64")]
    {
        context.uc_mcontext.regs[0] = (-i64::from(libc::EPERM)) as _;
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = context;
}

/// Writes the line about the first refusal of a call to standard error.
fn say(call: u32) {
    const STANDARD_ERROR: RawFd = 2;
    let Some(line) = LINE.get() else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut digits = [0; 10];
    let name = match names::name(call) {
        Some(name) => name.as_bytes(),
        None => decimal(call, &mut digits),
    };
    let text = Text::new(line(), now, name);
    // SAFETY: it returns the address of this thread's errno, and does nothing else.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the address is that of an integer of this thread.
    let before = unsafe { errno.read() };
    write_if_room(STANDARD_ERROR, text.bytes());
    // SAFETY: as above. The code that was interrupted finds its errno again.
    unsafe { errno.write(before) };
}

/// Writes bytes where there is room at once: the thread that was interrupted may be a shard's, and
/// a pipe may have no reader. Async-signal-safe.
fn write_if_room(to: RawFd, bytes: &[u8]) {
    let mut room = libc::pollfd { fd: to, events: libc::POLLOUT, revents: 0 };
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one `pollfd` and the time live for the call; there is no mask.
    if unsafe { libc::ppoll(&raw mut room, 1, &raw const at_once, std::ptr::null()) } == 1 {
        // SAFETY: the bytes live for the call. Without a reader there is nothing to be done.
        let _ = unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// Returns the digits of a number. No formatting of std's, which may panic.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut first = digits.len();
    while first > 0 {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &digits[first..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_names() {
        assert_eq!(call_number("openat").and_then(call_name), Some("openat"));
        assert_eq!(call_number("execve"), u32::try_from(libc::SYS_execve).ok());
        assert_eq!((call_number("no_such_call"), call_name(u32::MAX)), (None, None));
        // The x32 interface's numbers are no names of this architecture.
        assert_eq!(call_name(0x4000_0000 | 59), None);
    }

    #[test]
    fn a_full_pipe_is_not_waited_for() {
        use std::io::Read as _;
        use std::os::fd::AsRawFd as _;

        let (mut reader, writer) = io::pipe().unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // A pipe holds 64 KiB (pipe(7)).
            (0..64).for_each(|_| write_if_room(writer.as_raw_fd(), &[b'x'; 4096]));
            done.send(())
        });
        assert_eq!(is_done.recv_timeout(std::time::Duration::from_secs(30)), Ok(()));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(!all.is_empty() && all.len() < 64 * 4096, "{}", all.len());
    }

    #[test]
    fn numbers_are_written_in_digits() {
        let text = |number| String::from_utf8(decimal(number, &mut [0; 10]).to_vec()).unwrap();
        for number in [0, 7, 10, 59, 4_294_967_295] {
            assert_eq!(text(number), number.to_string());
        }
    }

    #[test]
    fn an_operation_that_was_refused_is_counted_under_its_name() {
        // No other test of this program counts one of this name.
        count_operation(Some("SHUTDOWN"));
        count_operation(Some("SHUTDOWN"));
        assert!(operations().contains(&("SHUTDOWN", 2)));
    }
}
