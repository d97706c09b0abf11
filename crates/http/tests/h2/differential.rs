//! The same bytes to this implementation and to Python's h2 and hpack, which share nothing with it:
//! on valid input both agree, on mutated input neither takes what the other refuses, but for
//! differences that are named here.

use crate::lab::*;
use crate::skip::skip;
use sitar_http::h2::testing::{Hpack, List};
use sitar_http::h2::{Connection, ContentSource, Limits, ResponseHead, SharedBuffers, field_block};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Debian's own, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/h2/differential.py");

/// Whether the peer is there; otherwise the test is recorded as skipped.
fn have() -> bool {
    let there = Command::new(PYTHON).args(["-c", "import h2, hpack"]).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return true;
    }
    let reason = "no python3-h2 on this machine; `cargo xtask setup` installs it";
    skip(reason);
    false
}

fn start(args: &[&str]) -> Child {
    let mut command = Command::new(PYTHON);
    command.arg(SCRIPT).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Returns the script's output for this input.
fn output(args: &[&str], input: String) -> String {
    let mut child = start(args);
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the script failed");
    String::from_utf8(output.stdout).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(text: &str) -> List {
    let fields = text.split(',').filter(|field| !field.is_empty());
    fields
        .map(|field| field.split_once(':').unwrap())
        .map(|(name, value)| (unhex(name), unhex(value)))
        .collect()
}

#[test]
fn blocks_of_another_encoder() {
    if !have() {
        return;
    }
    let (mut hpack, mut blocks) = (Hpack::default(), 0);
    for line in output(&["encode", "1", "400"], String::new()).lines() {
        if line == "connection" {
            hpack = Hpack::default();
            continue;
        }
        let (wire, fields) = line.split_once(' ').unwrap();
        assert_eq!(hpack.decode(&unhex(wire)), Ok(list(fields)), "{wire}");
        blocks += 1;
    }
    assert!(blocks > 1000);
}

#[test]
fn mutated_blocks_to_another_decoder() {
    if !have() {
        return;
    }
    // One byte of each block is changed; a connection ends with its first fault.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut blocks = Vec::new();
    for line in output(&["encode", "2", "700"], String::new()).lines() {
        match line.split_once(' ') {
            None => blocks.push(None),
            Some((wire, _)) => {
                let mut wire = unhex(wire);
                let at = next(wire.len());
                wire[at] = next(256) as u8;
                blocks.push(Some(wire));
            }
        }
    }
    let input: String = blocks.iter().map(|wire| wire.as_deref().map_or(String::new(), hex) + "\n").collect();
    let theirs = output(&["decode"], input);
    let mut theirs = theirs.lines();
    let (mut hpack, mut over, mut both, mut neither) = (Hpack::default(), false, 0, 0);
    for wire in blocks {
        let Some(wire) = wire else {
            (hpack, over) = (Hpack::default(), false);
            continue;
        };
        let theirs = theirs.next().unwrap();
        if over {
            continue;
        }
        match (hpack.decode(&wire), theirs.strip_prefix("ok")) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(ours, list(theirs.trim()), "{}", hex(&wire));
                both += 1;
            }
            (Err(_), None) => {
                over = true;
                neither += 1;
            }
            // hpack takes size updates anywhere, though RFC 7541 §4.2 has them at the beginning
            // only, and integers of any length, which §5.1 lets us bound.
            (Err("a table size update behind a field" | "an integer beyond 28 bits"), Some(_)) => over = true,
            (ours, theirs) => panic!("{}: ours {ours:?}, theirs {theirs:?}", hex(&wire)),
        }
    }
    assert!(both > 200 && neither > 200, "{both} {neither}");
}

#[test]
fn our_blocks_to_another_decoder() {
    if !have() {
        return;
    }
    let every: String = (0x21..0x7f_u8).map(char::from).collect();
    let (mut input, mut expected) = (String::new(), Vec::new());
    for nth in 0..200_usize {
        let value = &every[nth % 90..(nth % 90 + nth % 7).min(94)];
        let long = "/x".repeat(nth * 3);
        let lines = format!("Content-Type: {value}\r\nX-Name-{nth}: {value}{every}\r\nLocation: {long}\r\n");
        input += &format!("\n{}\n", hex(&field_block(lines.as_bytes())));
        let fields = [
            ("content-type".to_string(), value.to_string()),
            (format!("x-name-{nth}"), format!("{value}{every}")),
            ("location".to_string(), long),
        ];
        expected.push(fields.map(|(name, value)| (name.into_bytes(), value.into_bytes())).to_vec());
    }
    let theirs: Vec<List> =
        output(&["decode"], input).lines().map(|line| list(line.strip_prefix("ok ").unwrap())).collect();
    assert_eq!(theirs, expected);
}

#[test]
fn streams_to_another_server() {
    if !have() {
        return;
    }
    let (mut agreed, mut refused, mut characters) = (0, 0, 0);
    for line in output(&["streams", "3", "1000"], String::new()).lines() {
        let mut parts = line.split(' ');
        let mut part = || parts.next().unwrap();
        let (kind, wire, requests, error, resets) = (part(), unhex(part()), part(), part(), part());
        let mut lab = Lab::fresh(&Limits::default());
        lab.feed(&wire);
        let asked = lab.asked();
        let ours: Vec<String> = asked
            .iter()
            .filter(|asked| asked.rejection.is_none())
            .map(|asked| format!("{}:{}", asked.stream, hex(&asked.path)))
            .collect();
        let our_resets = lab.resets();
        let fault = lab.connection.error();
        let clean =
            fault.is_none() && our_resets.is_empty() && asked.iter().all(|asked| asked.rejection.is_none());
        let theirs_clean = error == "-" && resets == "-";
        if clean && theirs_clean {
            let theirs: Vec<&str> = requests.split(';').filter(|request| *request != "-").collect();
            assert_eq!(ours, theirs, "{line}");
            agreed += 1;
        } else if clean || theirs_clean {
            let reason = fault.map(|fault| fault.reason);
            assert_eq!(kind, "mutated", "{wire:02x?}: {fault:?} {our_resets:?} {error} {resets}");
            if reason.is_none() && error == "-" && our_resets.iter().all(|(_, code)| *code == 1) {
                // h2 does not look at the characters of :path, :scheme and :authority.
                characters += 1;
            } else {
                let known = is_known(reason, error);
                assert!(
                    known,
                    "{kind}: {wire:02x?}\nours: {fault:?} {our_resets:?} {asked:?}\ntheirs: {error} {resets}"
                );
            }
        } else {
            refused += 1;
        }
    }
    assert!(agreed > 300 && refused > 300 && characters < 10, "{agreed} {refused} {characters}");
}

/// Whether a difference between this server and h2 4.1 is known.
fn is_known(ours: Option<&str>, theirs: &str) -> bool {
    match (ours, theirs) {
        // It waits for the end of a frame before it looks at its size.
        (Some("a frame larger than allowed"), "-") => true,
        // h2 forgives the first on streams that the client has reset, though RFC 9113 §5.1 calls
        // for STREAM_CLOSED, and the second on idle ones, though §6.4 calls for PROTOCOL_ERROR.
        (Some("a frame on a stream that has ended" | "RST_STREAM on a stream that was not opened"), "-") => {
            true
        }
        _ => false,
    }
}

/// `/N`: N bytes that count up from the stream's number.
fn answer(
    connection: &mut Connection<Counting>,
    shared: &mut SharedBuffers<Counting>,
    stream: u32,
    path: &[u8],
    head: bool,
) {
    let length: usize = std::str::from_utf8(&path[1..]).unwrap().parse().unwrap();
    let answer = ResponseHead {
        status: sitar_http::Status::OK,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        block: b"",
        fields: &[b"X-Stream: yes\r\n"],
        content_length: Some(length as u64),
    };
    if head {
        connection.respond_without_content(shared, stream, &answer);
        return;
    }
    let content = Counting { next: stream as u8, ..counting(length) };
    let mut small = vec![0; length.min(2000)];
    if length <= small.len() && stream % 4 == 1 {
        let mut copy = Counting { next: stream as u8, ..counting(length) };
        copy.fill(&mut small);
        // No room: only what waits elsewhere can be tried; so it has to be queued.
        assert!(connection.respond_now(shared, stream, &answer, &small, &mut []).is_none());
    }
    connection.respond(shared, stream, &answer, content);
}

#[test]
fn a_live_client() {
    if !have() {
        return;
    }
    let mut child = start(&["live", "4", "40"]);
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let limits = Limits::default();
    let mut shared = SharedBuffers::new(&limits);
    let mut connections = 0;
    'clients: loop {
        let now = Instant::now();
        let mut connection = Connection::new(&limits, &mut shared, now);
        let mut inbox = Vec::new();
        loop {
            let mut len = [0; 4];
            from.read_exact(&mut len).expect("the script goes on");
            match u32::from_be_bytes(len) {
                u32::MAX => break,
                0xffff_fffe => break 'clients,
                len => {
                    let mut bytes = vec![0; len as usize];
                    from.read_exact(&mut bytes).unwrap();
                    inbox.extend(bytes);
                }
            }
            loop {
                let received = connection.receive(&mut shared, &inbox, now);
                let ask = received.request.map(|ask| {
                    let head = ask.method == sitar_http::Method::Head;
                    (ask.stream, ask.request.unwrap().target.path.to_vec(), head)
                });
                inbox.drain(..received.used);
                let Some((stream, path, head)) = ask else { break };
                answer(&mut connection, &mut shared, stream, &path, head);
            }
            assert_eq!(connection.error(), None);
            // Not all at once, so that what comes crosses what is sent.
            let (mut wire, mut record) = (Vec::new(), vec![0; 16_384]);
            for _ in 0..3 {
                let len = connection.poll_send(&mut shared, &mut record);
                wire.extend(&record[..len]);
            }
            to.write_all(&(wire.len() as u32).to_be_bytes()).unwrap();
            to.write_all(&wire).unwrap();
        }
        connections += 1;
        connection.release(&mut shared);
    }
    assert_eq!(connections, 40);
    assert!(child.wait().unwrap().success());
}
