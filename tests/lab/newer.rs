//! What kernels have that are newer than those of CI: `cargo xtask vm 7.2`.

use crate::common::client::Client;
use crate::common::site::{Site, write};
use crate::common::{Server, eventually, have, lab, run, sitar, sitar_by, skip};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

use super::{doctor, finding, pair};

/// Whether the guest's kernel has something that came with that version; otherwise the test is
/// recorded as skipped and should return.
fn has(what: &str, (major, minor): (u32, u32)) -> bool {
    if !lab::inside_or_skip() {
        return false;
    }
    let has = lab::kernel() >= (major, minor);
    if !has {
        skip(&format!("{what} came with Linux {major}.{minor}"));
    }
    has
}

/// The threads that wait for a device, as the kernel counts them (proc_stat(5)).
fn blocked() -> u32 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    text.lines().find_map(|line| line.strip_prefix("procs_blocked ")).unwrap().parse().unwrap()
}

/// Otherwise `top` says that an idle machine waits for its disks, and so does /proc/pressure/io.
#[test]
fn a_server_that_waits_for_clients_does_not_count_as_one_that_waits_for_disks() {
    if !has("IORING_ENTER_NO_IOWAIT", (6, 15)) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    assert!(server.said().contains("\n  engine   io_uring"), "{}", server.said());
    let mut client = Client::connect(&server);
    assert_eq!(client.get("/1k.txt").unwrap().status, 200);
    // A single look could fall into a moment in which the threads run.
    eventually("no thread waits for a device", || (0..20).all(|_| blocked() == 0));
}

#[test]
fn the_doctor_names_what_newer_kernels_can_do_with_rings() {
    if !lab::inside_or_skip() {
        return;
    }
    let home = TempDir::new().unwrap();
    let found = match lab::kernel() >= (7, 0) {
        true => "rings do what sitar uses; the kernel has them for tasks and by BPF filters too",
        false => "rings do what sitar uses",
    };
    let report = doctor(&mut sitar(home.path()));
    assert_eq!(finding(&report, "io_uring_restrictions"), pair("ok", found));
}

/// Restricts the rings of this task, and of what it becomes, to what `restrictions.rs` in sitar-io
/// lists, and executes what it is given. The operations are READV, POLL_ADD, SENDMSG, RECVMSG,
/// ACCEPT, ASYNC_CANCEL, CLOSE, FILES_UPDATE, STATX, READ, SEND, RECV, OPENAT2, SHUTDOWN and
/// URING_CMD, the flags FIXED_FILE and BUFFER_SELECT.
///
/// Linux, include/uapi/linux/io_uring.h: IORING_REGISTER_RESTRICTIONS (11) without a ring takes an
/// `io_uring_task_restriction`; IORING_RESTRICTION_SQE_OP is 1, SQE_FLAGS_ALLOWED 2. The call
/// io_uring_register has the number 427, PR_SET_NO_NEW_PRIVS is 38.
const RESTRICTED: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
ops = [1, 6, 9, 10, 13, 14, 19, 20, 21, 22, 26, 27, 28, 34, 46]
entries = [struct.pack('<HBB12x', 1, op, 0) for op in ops] + [struct.pack('<HBB12x', 2, 1 << 0 | 1 << 5, 0)]
order = struct.pack('<HH12x', 0, len(entries)) + b''.join(entries)
assert libc.syscall(427, -1, 11, order, 1) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_server_whose_rings_another_program_has_restricted_serves() {
    if !has("restrictions of a task's rings", (7, 0)) || !have(&["python3"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    write(folder.path(), "site/a.txt", "a page\n");
    let text = "[server]\ntls = \"off\"\nengine = \"uring\"\n\
                [[listen]]\naddress = \"127.0.0.1:0\"\n[[site]]\nroot = \"site\"\n";
    let file = folder.path().join("sitar.toml");
    fs::write(&file, text).unwrap();
    let home = TempDir::new().unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", RESTRICTED]);
    let mut command = sitar_by(python, home.path());
    // The kernel restricts a ring once. `strict` starts only with sitar's own.
    command.env("SITAR_SANDBOX", "auto");
    let server = Server::start_configured_by(command, home, &file);
    let mut stream = TcpStream::connect(server.listeners("http")[0]).unwrap();
    stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\na page\n"), "{answer}");
    let said = server.said();
    assert!(said.contains("without restricted rings (this kernel refuses the restrictions)"), "{said}");
}

#[test]
fn records_that_the_kernel_seals_can_be_limited() {
    if !has("TLS_TX_MAX_PAYLOAD_LEN", (6, 19)) || !have(&["python3"]) {
        return;
    }
    // As in `a_plain_socket_takes_the_kernels_tls`; TLS_TX_MAX_PAYLOAD_LEN is 5.
    let script = "
import socket, struct
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
server.setsockopt(socket.IPPROTO_TCP, 31, b'tls')
server.setsockopt(282, 1, struct.pack('<HH', 0x0304, 51) + bytes(8 + 16 + 4 + 8))
server.setsockopt(282, 5, struct.pack('<H', 1024))
server.sendall(bytes(3000))
server.close()
records = client.makefile('rb')
while head := records.read(5):
    length = int.from_bytes(head[3:], 'big')
    print(length, len(records.read(length)) == length)
";
    // RFC 8446 §5.2: the plain text, its inner type and the tag of 16 bytes.
    assert_eq!(run("python3", ["-c", script]).ok().text(), "1041 True\n1041 True\n969 True\n");
}
