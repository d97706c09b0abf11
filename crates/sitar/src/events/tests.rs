use serde_json::json;

use super::line::{Look, of};
use super::stream::{Written, device_and_inode, write_now};
use super::*;
use rustix::io::Errno;
use std::os::fd::AsFd as _;
use std::sync::mpsc;

const LOOKS: [Look; 4] = [Look::Terminal, Look::Journal, Look::Timed, Look::Json];

/// Returns the lines of an event in each form, at 19:44:37.123456 on 30 November 2025.
fn lines(event: &Event) -> [String; 4] {
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_531_877_123_456);
    LOOKS.map(|look| of(event, look, now))
}

#[test]
fn an_event_has_its_level_in_each_form() {
    assert_eq!(
        lines(&Event::new(Level::Info, "the site has changed")),
        [
            "sitar: the site has changed\n",
            "<6>sitar: the site has changed\n",
            "2025-11-30T19:44:37.123Z info sitar: the site has changed\n",
            "{\"level\":\"info\",\"ts\":1764531877.123456,\"logger\":\"sitar\",\"msg\":\"the site has changed\"}\n",
        ]
    );
    assert_eq!(
        lines(&Event::new(Level::Warning, "a file is large")),
        [
            "sitar: warning: a file is large\n",
            "<4>sitar: warning: a file is large\n",
            "2025-11-30T19:44:37.123Z warning sitar: a file is large\n",
            "{\"level\":\"warn\",\"ts\":1764531877.123456,\"logger\":\"sitar\",\"msg\":\"a file is large\"}\n",
        ]
    );
    assert_eq!(
        lines(&Event::new(Level::Error, "no worker")),
        [
            "sitar: error: no worker\n",
            "<3>sitar: error: no worker\n",
            "2025-11-30T19:44:37.123Z error sitar: no worker\n",
            "{\"level\":\"error\",\"ts\":1764531877.123456,\"logger\":\"sitar\",\"msg\":\"no worker\"}\n",
        ]
    );
}

#[test]
fn a_failure_is_one_line_and_its_parts_are_apart_in_json() {
    let other = Error::new("b.toml:3:1: no such folder");
    let error = Error::new("a.toml:1:1: unknown key 'x'").cause("far").hint("did you mean 'y'?").and(other);
    let event =
        Event::new(Level::Error, "not reloaded").because(&error).with("pid", 7).with("site", "a.test");
    let [terminal, _, _, object] = lines(&event);
    assert_eq!(
        terminal,
        "sitar: error: not reloaded: a.toml:1:1: unknown key 'x': far: b.toml:3:1: no such folder; \
         did you mean 'y'?\n"
    );
    assert_eq!(
        object,
        "{\"level\":\"error\",\"ts\":1764531877.123456,\"logger\":\"sitar\",\"msg\":\"not reloaded\",\
         \"cause\":[\"a.toml:1:1: unknown key 'x'\",\"far\",\"b.toml:3:1: no such folder\"],\
         \"hint\":[\"did you mean 'y'?\"],\"pid\":7,\"site\":\"a.test\"}\n"
    );
}

#[test]
fn people_may_read_another_sentence() {
    let event = Event::new(Level::Info, "stopped").in_text("stopped; accepted 3").with("accepted", 3);
    let [terminal, _, _, object] = lines(&event);
    assert_eq!(terminal, "sitar: stopped; accepted 3\n");
    assert!(object.ends_with(",\"msg\":\"stopped\",\"accepted\":3}\n"), "{object}");
}

#[test]
fn nothing_in_a_sentence_makes_another_line_or_ends_a_value() {
    let forged = "a\n<3>sitar: b\r\u{1b}[2K\0\u{7f}\u{85}\u{2028}\"},{\"level\":\"error\" \\ \u{fffd}é";
    let [terminal, journal, timed, object] = lines(&Event::new(Level::Info, forged));
    let shown =
        "a\\n<3>sitar: b\\r\\u{1b}[2K\\u{0}\\u{7f}\\u{85}\u{2028}\"},{\"level\":\"error\" \\ \u{fffd}é\n";
    assert_eq!(terminal, format!("sitar: {shown}"));
    assert_eq!(journal, format!("<6>sitar: {shown}"));
    assert_eq!(timed, format!("2025-11-30T19:44:37.123Z info sitar: {shown}"));
    assert_eq!(
        object,
        "{\"level\":\"info\",\"ts\":1764531877.123456,\"logger\":\"sitar\",\"msg\":\"a\\n<3>sitar: \
         b\\u000d\\u001b[2K\\u0000\\u007f\\u0085\\u2028\\\"},{\\\"level\\\":\\\"error\\\" \\\\ \u{fffd}é\"}\n"
    );
    let value: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(value["msg"], forged);
}

#[test]
fn a_line_is_cut_at_4096_bytes() {
    let long = "é".repeat(3000);
    let [terminal, _, _, object] = lines(&Event::new(Level::Info, &long).with("after", "it"));
    assert_eq!(terminal.len(), 4095);
    assert_eq!(terminal, format!("sitar: {}…\n", "é".repeat(2042)));
    let value: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(value["msg"], format!("{}…", "é".repeat(1021)));
    assert_eq!((&value["after"], &value["cut"]), (&json!("it"), &json!(true)));

    let names: Vec<String> = (0..1000).map(|number| format!("name {number}")).collect();
    let event = Event::new(Level::Info, "serving").with("first", 1).with("names", names).with("last", "…");
    let [.., object] = lines(&event);
    assert!((4000..=4096).contains(&object.len()), "{}", object.len());
    let value: Value = serde_json::from_str(&object).unwrap();
    assert_eq!((&value["first"], &value["names"][200]), (&json!(1), &json!("name 200")));
    assert_eq!(value["cut"], true);
}

#[test]
fn any_text_makes_lines_that_hold() {
    for choice in 0..=255 {
        for text in
            ["", " ", "a b c d", "\u{1b} \" \\ \n", "é\u{2028}… \u{fffd} x\0y \u{10ffff}", &"…\"".repeat(90)]
        {
            properties::event_lines(&[&[choice], text.as_bytes()].concat());
        }
    }
}

#[test]
fn the_journal_is_told_by_its_device_and_inode() {
    assert_eq!(device_and_inode("8:1234567"), Some((8, 1_234_567)));
    for other in ["", ":", "8", "8:", ":9", "8:x", "-8:9", "8:9:1"] {
        assert_eq!(device_and_inode(other), None, "{other}");
    }
}

#[test]
fn a_line_that_was_torn_ends_before_the_next() {
    let mut written = Written { dropped: 0, is_torn: false };
    let (mut text, mut rooms) = (Vec::new(), [4, 3].into_iter());
    let mut put = |bytes: &[u8], _: i64| {
        let count = rooms.next().unwrap_or(LINE_MAX).min(bytes.len());
        text.extend_from_slice(&bytes[..count]);
        count
    };
    written.write("one\n", &mut put);
    written.write("two, which is torn\n", &mut put);
    written.write("three\n", &mut put);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["one", "two", "three"]);
    assert_eq!((written.dropped, written.is_torn, lines.len()), (0, false, 4));
    assert!(lines[3].contains("events before this one are missing: 1"), "{text}");
}

#[test]
fn a_pipe_without_room_is_not_waited_for() {
    let (reader, writer) = std::io::pipe().unwrap();
    let none = rustix::io::pwritev2(
        &writer,
        &[std::io::IoSlice::new(b"x")],
        u64::MAX,
        rustix::io::ReadWriteFlags::NOWAIT,
    );
    if none == Err(Errno::OPNOTSUPP) {
        // Before Linux 6.5.
        return;
    }
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let refused = loop {
            if let Err(errno) = write_now(writer.as_fd(), &[b'x'; LINE_MAX]) {
                break errno;
            }
        };
        done.send(refused)
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(30)), Ok(Errno::AGAIN));
    drop(reader);
}
