use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind};

use super::kernel::{self, Calls};
use super::load::{Tally, read_answer};
use super::page::agree;
use super::*;

const STAT: &str = "4712 (sitar) 1 (x) S 1 4712 4712 0 -1 4194368 120 0 3 0 250 175 0 0 20 0 4 0 100 1 2";
const STATUS: &str = "Name:\tsitar\nVmRSS:\t    6540 kB\nvoluntary_ctxt_switches:\t41\n\
                      nonvoluntary_ctxt_switches:\t7\n";

#[test]
fn the_files_of_a_thread_are_read() {
    let mut usage = Usage::default();
    usage.add(STAT, STATUS, "4260000000 55 99\n");
    let expected = Usage {
        user: 250,
        system: 175,
        running: 4_260_000_000,
        polling: 0,
        voluntary: 41,
        involuntary: 7,
        minor_faults: 120,
        major_faults: 3,
    };
    assert_eq!(usage, expected);
    // A polling thread has a row of its own.
    usage.add(&STAT.replace("sitar) 1 (x", "iou-sqp-4712"), STATUS, "1000 0 1");
    assert_eq!((usage.running, usage.polling), (4_260_000_000, 1000));
    assert_eq!((usage.user, usage.system, usage.voluntary), (250, 175, 82));
    assert_eq!(usage.since(&expected), Usage { polling: 1000, voluntary: 41, ..usage.since(&expected) });
    assert_eq!(expected.since(&usage), Usage::default());
}

#[test]
fn files_that_say_something_else_are_zeros() {
    for text in ["", ")", "1 (", "1 (a) S", "1 (a) S x y z 1 2 3 x 5 x", "\u{0}"] {
        let mut usage = Usage::default();
        usage.add(text, text, "x");
        assert_eq!((usage.running, usage.minor_faults, usage.major_faults), (0, 0, 0), "{text}");
        assert_eq!((kernel::resident(text), kernel::model(text)), (None, None), "{text}");
    }
    assert_eq!(kernel::resident(STATUS), Some(6540 * 1024));
    assert_eq!(kernel::resident("VmRSS: 99999999999999999999 kB"), None);
    assert_eq!(kernel::model("processor : 0\nmodel name\t: A CPU @ 2 GHz\n"), Some("A CPU @ 2 GHz"));
}

fn counts(error: fn() -> IoError, number: IoError) -> (String, String) {
    let threads = BTreeSet::from([1, 2]);
    let counters = Counters::start(&threads, &Err(number), &|_, _, _| Err(error()));
    let (calls, instructions) = counters.read();
    (calls.unwrap_err(), instructions.unwrap_err())
}

#[test]
fn what_is_not_permitted_has_a_reason_and_what_helps() {
    let (calls, instructions) = counts(|| Errno::ACCESS.into(), ErrorKind::PermissionDenied.into());
    assert_eq!(calls, "only root may look into tracefs; what helps: sudo sitar prove");
    assert_eq!(
        instructions,
        "perf events are not permitted; what helps: sudo sitar prove, or sysctl kernel.perf_event_paranoid=2 for \
         instructions"
    );
    let (calls, instructions) = counts(|| Errno::NOENT.into(), ErrorKind::NotFound.into());
    assert!(calls.starts_with("there is no tracefs"), "{calls}");
    assert_eq!(instructions, "this CPU has no such counter, as in most virtual machines");
    // Where tracefs can be read and the event is refused.
    let threads = BTreeSet::from([1]);
    let counters = Counters::start(&threads, &Ok("443\n".to_owned()), &|_, _, _| Err(Errno::PERM.into()));
    assert!(counters.read().0.unwrap_err().starts_with("perf events are not permitted"));
    let counters = Counters::start(&threads, &Ok("x".to_owned()), &|_, _, _| Err(Errno::PERM.into()));
    assert_eq!(counters.read().0.unwrap_err(), "tracefs is not understood");
    // Those that have ended since they were listed keep none of the others from being counted.
    let ended = kernel::each(&BTreeSet::from([1, 2, 3]), |thread| match thread {
        2 => Err(Errno::SRCH.into()),
        thread => Ok(vec![thread]),
    });
    assert_eq!(ended.unwrap(), [1, 3]);
}

#[test]
fn counts_agree_as_far_as_the_ends_of_a_run_allow() {
    assert!(agree(20_000, 20_040, 16));
    assert!(!agree(20_000, 20_041, 16));
    assert!(agree(1_000_000, 1_001_000, 16));
    assert!(!agree(1_000_000, 1_001_001, 16));
    assert!(!agree(0, 400, 16));
}

#[test]
fn an_answer_is_read_to_its_end_and_not_further() {
    let read = |text: &str| {
        let mut buffer = Vec::new();
        let head = read_answer(&mut text.as_bytes(), &mut buffer).map_err(|error| error.to_string())?;
        Ok::<_, String>(buffer[head..].to_vec())
    };
    assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), Ok(b"hi".to_vec()));
    assert_eq!(read("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length:0\r\n\r\n"), Ok(Vec::new()));
    for (answer, why) in [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "its status line is \"HTTP/1.1 404 Not Found\"",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "it does not say its length, or is too large"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "it does not say its length, or is too large",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhi", "bytes behind its end"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", "unexpected end of file"),
        ("", "unexpected end of file"),
    ] {
        assert_eq!(read(answer), Err(why.to_owned()), "{answer}");
    }
    assert_eq!(read(&"x".repeat(100_000)), Err("its head has no end".to_owned()));
}

fn arguments(words: &[&str]) -> Prove {
    match crate::cli::parse(["sitar", "prove"].iter().chain(words), None).unwrap() {
        crate::cli::Verb::Prove(arguments) => arguments,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_shown_without_paths() {
    let shown = |words: &[&str]| command(&arguments(words));
    assert_eq!(shown(&[]), "sitar prove --engine auto --requests 20000 --connections 16");
    assert_eq!(
        shown(&["--engine", "sqpoll", "--seconds", "3", "--shards", "1", "/home/a/site", "--target", "/b"]),
        "sitar prove --engine sqpoll --seconds 3 --connections 16 --shards 1 --target TARGET PATH"
    );
    for wrong in ["x", "/a b", "/a\r\nb", "", "/ü"] {
        assert!(target(&arguments(&["--target", wrong, "."])).is_err(), "{wrong:?}");
    }
    assert_eq!(target(&arguments(&["--target", "/a?b", "."])), Ok("/a?b"));
}

fn measured() -> Measured {
    Measured {
        command: "sitar prove".to_owned(),
        kernel: "6.18.0".to_owned(),
        cpu: "A CPU, 2 CPUs for this process".to_owned(),
        engine: "io_uring".to_owned(),
        sandbox: "Landlock".to_owned(),
        content_len: 1024,
        connections: 16,
        counted: Tally { answers: 20_000, content: 20_480_000, received: 25_000_000, sent: 1_600_000 },
        server_answers: 20_000,
        server_content: 20_480_000,
        server_enters: Some(10_010),
        kernel_sealed: 0,
        handshakes: 16,
        calls: Ok(Calls { all: 10_012, names: BTreeMap::from([("io_uring_enter", 10_000), ("read", 10)]) }),
        allocations: Ok(4),
        instructions: Err("this CPU has no such counter".to_owned()),
        switches: Usage { voluntary: 5000, involuntary: 3, ..Usage::default() },
        threads_changed: false,
        priced: Tally { answers: 20_000, ..Tally::default() },
        price: Usage {
            user: 30,
            system: 10,
            running: 400_000_000,
            polling: 1_000_000_000,
            ..Usage::default()
        },
        seconds: 2.0,
        ticks: 100,
        worker_memory: Some(8 << 20),
        supervisor_memory: None,
    }
}

#[test]
fn the_page() {
    let build = if cfg!(debug_assertions) { ", a debug build" } else { "" };
    let version = format!("{}{build}", env!("CARGO_PKG_VERSION"));
    let expected = format!(
        "## sitar prove

- command: `sitar prove`
- sitar: {version}
- kernel: 6.18.0
- CPU: A CPU, 2 CPUs for this process
- engine: io_uring
- sandbox: Landlock
- TLS: sealed by sitar
- load: 20,000 requests for 1,024 bytes on 16 connections, HTTP/1.1 over TLS on loopback, after a warm-up; each answer \
         was compared byte by byte

| counted | in all | each request | by |
|---|--:|--:|---|
| system calls | 10,012 | 0.5006 | kernel, `raw_syscalls:sys_enter` |
| of these `io_uring_enter` | 10,000 | 0.5000 | kernel, `raw_syscalls:sys_enter` |
| of these `read` | 10 | 0.0005 | kernel, `raw_syscalls:sys_enter` |
| of these others | 2 | 0.0001 | kernel, `raw_syscalls:sys_enter` |
| `io_uring_enter` | 10,010 | 0.5005 | server |
| answers | 20,000 | 1.0000 | server |
| bytes of content | 20,480,000 | 1024.0000 | server |
| bytes of content | 20,480,000 | 1024.0000 | clients |
| bytes from the server, TLS and heads with them | 25,000,000 | 1250.0000 | clients |
| bytes to the server | 1,600,000 | 80.0000 | clients |
| allocations, `malloc` and its like | 4 | 0.0002 | kernel, uprobes in libc |
| context switches, voluntary | 5,000 | 0.2500 | kernel, /proc |
| context switches, involuntary | 3 | 0.0001 | kernel, /proc |
| page faults, minor | 0 | 0.0000 | kernel, /proc |
| page faults, major | 0 | 0.0000 | kernel, /proc |

Server and clients agree on answers and bytes of content.
Kernel and server agree on `io_uring_enter`: 10,000 and 10,010 (they do not stop counting in the same moment).

The price, of 20,000 further requests in 2.00 s without counters:

| price | |
|---|--:|
| CPU seconds of a million requests | 70.00 |
| of these user | 15.00 |
| of these system | 5.00 |
| of these the kernel's polling thread | 50.00 |
| cores taken meanwhile | 0.70 |
| resident memory of the worker | 8.0 MiB |
| resident memory of the supervisor | ? |

Not measured here:

- instructions: this CPU has no such counter
- copies of bytes in memory: no counter of the kernel or the CPU tells them
- the kernel's work outside of the server's threads, such as interrupts
"
    );
    assert_eq!(measured().text(), expected);
}

#[test]
fn the_page_says_what_does_not_agree_and_what_was_not_counted() {
    let mut other = measured();
    other.server_enters = Some(12_000);
    other.server_answers = 19_999;
    other.instructions = Ok((60_000_000, true));
    other.kernel_sealed = 16;
    other.threads_changed = true;
    let text = other.text();
    for line in [
        "- TLS: sealed by the kernel",
        "| instructions, user mode only | 60,000,000 | 3000.0000 | CPU |",
        "Server and clients DO NOT AGREE on answers and bytes of content.",
        "Kernel and server DO NOT AGREE on `io_uring_enter`: 10,000 and 12,000 (they do not stop counting in the same \
         moment).",
        "Threads have ended or begun meanwhile: counts of those that have ended are missing.",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(other.json()["enters_agree"], false);

    other.calls = Err("no".to_owned());
    other.allocations = Err("not either".to_owned());
    let text = other.text();
    assert!(text.contains("\n- system calls by the kernel: no\n"), "{text}");
    assert!(text.contains("\n- allocations: not either\n") && !text.contains("malloc"), "{text}");
    assert!(!text.contains("raw_syscalls") && !text.contains("Kernel and server"), "{text}");
    let document = other.json();
    assert!(document["system_calls"].is_null() && document["enters_agree"].is_null());
    assert_eq!(document["price"]["cpu_seconds_per_million"], 70.0);
}

#[test]
fn a_folder_goes_with_what_is_in_it() {
    let folder = child::Folder::new().unwrap();
    let path = folder.path().to_owned();
    fs::write(path.join("a"), "b").unwrap();
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn the_c_library_is_found_among_mappings() {
    let maps = "55d0-55d1 r--p 0 fe:00 1 /usr/bin/sitar\n7f00-7f01 rw-p 0 00:00 0 \n\
                7f02-7f03 r--p 0 fe:00 2                  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                7ffd-7ffe rw-p 0 00:00 0                  [stack]\n";
    assert_eq!(allocator::library(maps), Some("/usr/lib/x86_64-linux-gnu/libc.so.6"));
    assert_eq!(
        allocator::library("1-2 r-xp 0 0:0 1 /lib/ld-musl-x86_64.so.1"),
        Some("/lib/ld-musl-x86_64.so.1")
    );
    assert_eq!(allocator::library("1-2 r-xp 0 0:0 1 /usr/lib/libcrypto.so\n/\n\n"), None);
}

/// That of this process, whole, cut off, and with bytes that are others.
#[test]
fn functions_are_found_in_a_library() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(library) = allocator::library(&maps) else { return };
    let mut file = fs::read(library).unwrap();
    let places = allocator::places(&file).unwrap();
    assert!((4..=6).contains(&places.len()), "{places:?}");
    for len in [0, 5, 6, 63, 64, 100, 1000, file.len() / 2] {
        allocator::places(&file[..len]);
    }
    let mut number = 1_u32;
    for _ in 0..300 {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (at, byte) = ((number >> 8) as usize % 1024, number as u8);
        let before = std::mem::replace(&mut file[at], byte);
        allocator::places(&file);
        file[at] = before;
    }
}

#[test]
fn allocations_of_a_thread_are_counted() {
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let counters = match allocator::start(Path::new("/proc/self/maps"), &BTreeSet::from([thread])) {
        Ok(counters) => counters,
        Err(why) => return println!("skipped: {why}"),
    };
    let boxes: Vec<Box<usize>> = (0..1000).map(|number| Box::new(std::hint::black_box(number))).collect();
    let count = kernel::sum(counters).unwrap();
    assert!((1000..1100).contains(&count), "{count} allocations for {}", boxes.len());
}
