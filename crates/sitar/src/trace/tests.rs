use serde_json::json;

use super::*;

#[test]
fn what_is_asked_for_comes_back() {
    let all = Spec::default();
    assert_eq!(Spec::read(b"{}"), Ok(all.clone()));
    assert_eq!(all.to_json(), json!({ "sample": 1, "milliseconds": 10_000 }));
    let spec = Spec {
        host: Some("a.test".into()),
        path: Some("/x*".into()),
        status: Some("5xx".into()),
        sample: 100,
        duration: Duration::from_millis(1500),
        count: Some(7),
    };
    assert_eq!(Spec::from_json(&spec.to_json()), Ok(spec.clone()));
    let filter = TraceFilter {
        host: Some(b"a.test"[..].into()),
        path: Some(TracePath::Prefix(b"/x"[..].into())),
        status: (500, 599),
        every: 100,
    };
    assert_eq!(spec.filter(), filter);
    assert_eq!(all.filter(), TraceFilter::default());
    let exact = Spec { path: Some("/x".into()), status: Some("404".into()), ..all };
    let path = Some(TracePath::Exact(b"/x"[..].into()));
    assert_eq!(exact.filter(), TraceFilter { path, status: (404, 404), ..TraceFilter::default() });
}

#[test]
fn what_there_is_not_is_refused() {
    for (json, why) in [
        ("", "what to trace is no JSON"),
        ("{", "what to trace is no JSON"),
        ("\u{0}", "what to trace is no JSON"),
        ("[]", "what to trace is no JSON object"),
        ("null", "what to trace is no JSON object"),
        (r#"{"user":"x"}"#, "this version knows no 'user' of a trace"),
        (r#"{"host":7}"#, "'host' of a trace is no text"),
        (r#"{"host":""}"#, "a host without a name"),
        (r#"{"host":"a.test:443"}"#, "a host is given without a port, and an address of IPv6 in brackets"),
        (r#"{"host":"::1"}"#, "a host is given without a port, and an address of IPv6 in brackets"),
        (r#"{"host":"[::1]:443"}"#, "a host is given without a port, and an address of IPv6 in brackets"),
        (r#"{"host":"https://a"}"#, "a host is a name as clients send it, such as www.example.org"),
        (r#"{"host":"a b"}"#, "a host is a name as clients send it, such as www.example.org"),
        (r#"{"host":"\u001b[2J"}"#, "a host is a name as clients send it, such as www.example.org"),
        (r#"{"path":"x"}"#, "a path begins with /"),
        (r#"{"path":""}"#, "a path begins with /"),
        (r#"{"path":"/a?b"}"#, "a path is given without its query: what is behind a ? is not looked at"),
        (r#"{"path":"/ä"}"#, "a path is compared as clients send it: other characters as %C3%A4"),
        (r#"{"path":"/a\n"}"#, "a path is compared as clients send it: other characters as %C3%A4"),
        (r#"{"path":"/*.css"}"#, "a path has * at its end only"),
        (r#"{"status":"600"}"#, "a status is a number such as 404, or a class such as 5xx"),
        (r#"{"status":"99"}"#, "a status is a number such as 404, or a class such as 5xx"),
        (r#"{"status":"5xxx"}"#, "a status is a number such as 404, or a class such as 5xx"),
        (r#"{"status":404}"#, "'status' of a trace is no text"),
        (r#"{"sample":0}"#, "'sample' of a trace is at least 1"),
        (r#"{"sample":-1}"#, "'sample' of a trace is no number of 32 bits"),
        (r#"{"sample":4294967296}"#, "'sample' of a trace is no number of 32 bits"),
        (r#"{"count":0}"#, "'count' of a trace is at least 1"),
        (r#"{"milliseconds":0}"#, "a duration is a whole number with ms, s, m or h, and more than 0"),
        (r#"{"milliseconds":3600001}"#, "a trace lasts for an hour at most"),
    ] {
        assert_eq!(Spec::read(json.as_bytes()), Err(why.to_owned()), "{json}");
    }
    let long = |name: &str, text: String| Spec::from_json(&json!({ name: text })).unwrap_err();
    assert_eq!(long("host", "a".repeat(254)), "a host of more than 253 bytes");
    assert_eq!(long("path", format!("/{}", "a".repeat(1024))), "a path of more than 1024 bytes");
}

#[test]
fn hosts_are_in_lower_case_and_without_the_dot_of_the_root() {
    assert_eq!(host("WWW.Example.ORG."), Ok("www.example.org".into()));
    assert_eq!(host("[2001:DB8::1]"), Ok("[2001:db8::1]".into()));
    assert_eq!(host("default"), Ok("default".into()));
    assert_eq!(path("*"), Ok("*".into()));
}

#[test]
fn durations_have_units() {
    let milliseconds = |text: &str| duration(text).map(|duration| duration.as_millis());
    for (text, expected) in
        [("10s", 10_000), ("10", 10_000), ("500ms", 500), ("5m", 300_000), ("1h", 3_600_000)]
    {
        assert_eq!(milliseconds(text), Ok(expected), "{text}");
    }
    for wrong in ["", "s", "0", "0s", "-1s", "1.5s", "1d", "10 s", "99999999999999999999s", "ä"] {
        let why = "a duration is a whole number with ms, s, m or h, and more than 0";
        assert_eq!(milliseconds(wrong), Err(why.into()), "{wrong}");
    }
    for long in ["3601s", "61m", "2h", "18446744073709551615h"] {
        assert!(milliseconds(long).is_err(), "{long}");
    }
}
