//! What the process asks its supervisor for, and tells it. It is not believed more than it has to
//! be: an authority may have taken it over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sitar_acme::{DnsChange, Identifier, Pending, Progress, Stage};
use zeroize::Zeroizing;

use crate::handover::said;

/// The most challenges that are pending at a time.
const PENDING_MAX: usize = 1000;

/// What it asks for, or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// These challenges are to be answered, and no others.
    Answer(Vec<Pending>),
    /// A record in the DNS is to be changed.
    ChangeDns { change: DnsChange, name: String, value: String },
    /// The certificate of that name lies in the folder.
    Issued(String),
    /// Something is known of a certificate.
    Progress(Box<Progress>),
}

impl Told {
    /// Returns the message.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Told::Answer(all) => {
                let one = |pending: &Pending| match pending {
                    Pending::Http01 { identifier, token, authorization } => {
                        json!({ "host": identifier.to_string(), "token": token, "text": authorization })
                    }
                    Pending::TlsAlpn01 { server_name, chain, key } => {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        json!({ "server_name": server_name, "chain": text(chain), "key": text(key) })
                    }
                };
                json!({ "answer": all.iter().map(one).collect::<Vec<_>>() })
            }
            Told::ChangeDns { change, name, value } => {
                json!({ "dns": name, "value": value, "add": *change == DnsChange::Add })
            }
            Told::Issued(name) => json!({ "issued": name }),
            Told::Progress(progress) => json!({ "progress": progress_to_json(progress) }),
        }
    }

    /// Reads the message. `None`: it has another shape.
    pub(crate) fn read(value: &Value) -> Option<Told> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(all) = value.get("answer") {
            let all = all.as_array().filter(|all| all.len() <= PENDING_MAX)?;
            let one = |one: &Value| match text(one, "server_name") {
                Some(server_name) => Some(Pending::TlsAlpn01 {
                    server_name,
                    chain: text(one, "chain")?.into_bytes(),
                    key: Zeroizing::new(text(one, "key")?.into_bytes()),
                }),
                None => Some(Pending::Http01 {
                    identifier: Identifier::parse(&text(one, "host")?).ok()?,
                    token: text(one, "token")?,
                    authorization: text(one, "text")?,
                }),
            };
            return all.iter().map(one).collect::<Option<_>>().map(Told::Answer);
        }
        if let Some(name) = text(value, "dns") {
            let change = if value.get("add")?.as_bool()? { DnsChange::Add } else { DnsChange::Remove };
            return Some(Told::ChangeDns { change, name, value: text(value, "value")? });
        }
        if let Some(name) = text(value, "issued") {
            return Some(Told::Issued(name));
        }
        read_progress(value.get("progress")?).map(|progress| Told::Progress(Box::new(progress)))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Resting => "resting",
        Stage::Ordering => "ordering",
        Stage::Failing => "failing",
    }
}

/// Returns what is known of a certificate as JSON; times are seconds since 1970.
pub(crate) fn progress_to_json(progress: &Progress) -> Value {
    json!({
        "name": progress.name,
        "stage": stage_name(progress.stage),
        "serial": progress.serial,
        "not_before": progress.validity.map(|(from, _)| from),
        "not_after": progress.validity.map(|(_, until)| until),
        "authority": progress.authority,
        "next": progress.next.map(seconds),
        "failed": progress.failed,
        "hint": progress.hint,
        "failures": progress.failures,
    })
}

/// Reads what [`progress_to_json`] returns. `None`: it has another shape.
pub(crate) fn read_progress(value: &Value) -> Option<Progress> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(said);
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let stages = [Stage::Resting, Stage::Ordering, Stage::Failing];
    Some(Progress {
        name: text("name")?,
        stage: stages.into_iter().find(|stage| value.get("stage") == Some(&stage_name(*stage).into()))?,
        serial: text("serial"),
        validity: number("not_before").zip(number("not_after")),
        authority: text("authority"),
        next: number("next").and_then(|next| UNIX_EPOCH.checked_add(Duration::from_secs(next))),
        failed: text("failed"),
        hint: text("hint"),
        failures: u32::try_from(number("failures")?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use crate::channel::{Channel, Limits};

    use super::*;

    #[test]
    fn a_message_is_bounded_by_what_orders_need() {
        let (own, other) = Channel::pair().unwrap();
        // RFC 8737: some 700 bytes of PEM, and a key of 250.
        let one = |number: usize| Pending::TlsAlpn01 {
            server_name: format!("{}{number}.example", "a".repeat(200)),
            chain: b"0123456789abcdef\n".repeat(150),
            key: b"0123456789abcdef\n".repeat(20).into(),
        };
        let told = Told::Answer((0..100).map(one).collect());
        std::thread::scope(|scope| {
            scope.spawn(|| own.send(&told.to_json(), &[], &[]).unwrap());
            let message = other.receive(Limits::OF_ACME).unwrap().unwrap();
            assert_eq!(Told::read(&message.value), Some(told.clone()));
        });
        // It would take 32 times as many bytes where it is parsed.
        std::thread::scope(|scope| {
            scope.spawn(|| own.send(&Value::from(vec![0; 300_000]), &[], &[]));
            assert!(other.receive(Limits::OF_ACME).is_err());
            drop(other);
        });
    }

    #[test]
    fn what_is_told_comes_as_it_was_sent() {
        let progress = Progress {
            name: "a.example".into(),
            stage: Stage::Failing,
            serial: Some("0a".into()),
            validity: Some((1, 2)),
            authority: Some("https://ca.example".into()),
            next: Some(UNIX_EPOCH + Duration::from_secs(7)),
            failed: Some("no".into()),
            hint: None,
            failures: 3,
        };
        let pending = vec![
            Pending::Http01 {
                identifier: Identifier::parse("2001:db8::1").unwrap(),
                token: "token".into(),
                authorization: "token.thumb".into(),
            },
            Pending::TlsAlpn01 {
                server_name: "a.example".into(),
                chain: b"chain".to_vec(),
                key: Zeroizing::new(b"key".to_vec()),
            },
        ];
        for told in [
            Told::Answer(pending),
            Told::Answer(Vec::new()),
            Told::ChangeDns { change: DnsChange::Remove, name: "n".into(), value: "v".into() },
            Told::Issued("a.example".into()),
            Told::Progress(Box::new(progress.clone())),
        ] {
            assert_eq!(Told::read(&told.to_json()), Some(told));
        }
        for wrong in
            [json!(null), json!({}), json!({ "answer": [{}] }), json!({ "progress": { "name": "x" } })]
        {
            assert_eq!(Told::read(&wrong), None, "{wrong}");
        }
        let mut forged = Told::Progress(Box::new(progress)).to_json();
        forged["progress"]["failed"] = "a\u{1b}[31m\nb".into();
        let Some(Told::Progress(read)) = Told::read(&forged) else { panic!("{forged}") };
        assert_eq!(read.failed.as_deref(), Some("a\\u{1b}[31m\\nb"));
    }
}
