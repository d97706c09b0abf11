use super::*;
use crate::doctor::{Problem, Remedy};

fn findings() -> Vec<Finding> {
    let remedy = |what: &str, command: Option<&str>| Remedy {
        what: what.to_owned(),
        command: command.map(str::to_owned),
    };
    vec![
        Finding { id: "kernel", found: "6.12.1".into(), verdict: Verdict::Fine },
        Finding {
            id: "kernel_tls",
            found: "not loaded".into(),
            verdict: Verdict::Missing(Problem {
                missing: "the module".into(),
                cost: "a little".into(),
                remedies: vec![remedy("load it", Some("sudo modprobe tls")), remedy("or leave it", None)],
            }),
        },
        Finding {
            id: "cores",
            found: "1\n\x1b[2J".into(),
            verdict: Verdict::Degraded(Problem {
                missing: "a core".into(),
                cost: "\"much\"".into(),
                remedies: Vec::new(),
            }),
        },
    ]
}

#[test]
fn for_a_person_it_is_aligned() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text(&findings(), false),
        format!("sitar {version} looks at this machine\n")
            + "
ok        kernel      6.12.1
missing   kernel_tls  not loaded
                      missing: the module
                      costs:   a little
                      fix:     load it
                               $ sudo modprobe tls
                      fix:     or leave it
degraded  cores       1\\n\\u{1b}[2J
                      missing: a core
                      costs:   \"much\"

3 checks: 1 ok, 1 degraded, 1 missing
"
    );
}

#[test]
fn colour_marks_the_state_and_nothing_else() {
    let colored = text(&findings(), true);
    assert!(colored.contains("\n\x1b[32mok      \x1b[0m  kernel      6.12.1\n"), "{colored}");
    assert!(colored.contains("\n\x1b[1;31mmissing \x1b[0m  kernel_tls  not loaded\n"), "{colored}");
    assert!(colored.contains("\n\x1b[33mdegraded\x1b[0m  cores       1"), "{colored}");
    assert_eq!(colored.matches('\x1b').count(), 6, "{colored}");
}

#[test]
fn for_a_program_it_is_json_of_a_known_shape() {
    let version = env!("CARGO_PKG_VERSION");
    let expected = r#"{
  "findings": [
    {
      "cost": null,
      "fixes": [],
      "found": "6.12.1",
      "id": "kernel",
      "missing": null,
      "state": "ok"
    },
    {
      "cost": "a little",
      "fixes": [
        {
          "command": "sudo modprobe tls",
          "what": "load it"
        },
        {
          "command": null,
          "what": "or leave it"
        }
      ],
      "found": "not loaded",
      "id": "kernel_tls",
      "missing": "the module",
      "state": "missing"
    },
    {
      "cost": "\"much\"",
      "fixes": [],
      "found": "1\n\u001b[2J",
      "id": "cores",
      "missing": "a core",
      "state": "degraded"
    }
  ],
  "kernel": "6.12.1",
  "schema": 1,
  "state": "missing",
  "version": "VERSION"
}
"#;
    assert_eq!(json("6.12.1", &findings()), expected.replace("VERSION", version));
    let fine = json("6.12.1", &findings()[..1]);
    assert!(fine.contains("\n  \"state\": \"ok\",\n"), "{fine}");
    assert!(json("6.12.1", &findings()[2..]).contains("\n  \"state\": \"degraded\",\n"));
}
