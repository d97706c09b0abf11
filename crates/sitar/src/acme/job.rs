//! What the process is to do: the first message of its supervisor.

use std::os::fd::{AsFd as _, OwnedFd};

use serde_json::{Value, json};
use sitar_acme::{Authority, ChallengeKind, Eab, Identifier, KeyType, Plan, Wanted};
use zeroize::Zeroizing;

use crate::channel::Message;
use crate::events;
use crate::handover::Parts;
use crate::sandbox::Policy;

/// The kinds of challenges, by the names that they have everywhere.
const KINDS: [ChallengeKind; 3] = [ChallengeKind::TlsAlpn01, ChallengeKind::Http01, ChallengeKind::Dns01];

/// What is wanted, and how the process is to run. A descriptor of the folder comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) policy: Policy,
    /// The form of what it says on standard error.
    pub(crate) events: events::Form,
}

impl Job {
    /// Returns the parts of the message. Roots and keys come as blobs.
    pub(crate) fn parts<'p>(&'p self, folder: &'p OwnedFd) -> Parts<'p> {
        let mut blobs: Vec<&[u8]> = Vec::new();
        let authorities = self.plan.authorities.iter().map(|one| {
            blobs.extend(one.roots.as_deref());
            blobs.extend(one.eab.as_ref().map(|eab| &eab.key[..]));
            json!({
                "directory": one.directory,
                "roots": one.roots.is_some(),
                "agrees": one.agrees,
                "contact": one.contact,
                "eab": one.eab.as_ref().map(|eab| &eab.kid),
            })
        });
        let authorities: Vec<Value> = authorities.collect();
        let certificates = self.plan.certificates.iter().map(|one| {
            json!({
                "identifiers": one.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "rsa": one.key == KeyType::Rsa2048,
                "profile": one.profile,
                "chain": one.preferred_chain,
                "challenges": one.challenges.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            })
        });
        let value = json!({
            "authorities": authorities,
            "certificates": certificates.collect::<Vec<_>>(),
            "sandbox": match self.policy { Policy::Auto => 0, Policy::Strict => 1, Policy::Off => 2 },
            "json_events": self.events == events::Form::Json,
        });
        (value, blobs, vec![folder.as_fd()])
    }

    /// Reads the message. `None`: it has another shape.
    pub(crate) fn read(message: Message) -> Option<(Job, OwnedFd)> {
        let Message { value, blobs, descriptors } = message;
        let mut blobs = blobs.into_iter();
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let truth = |value: &Value, name: &str| value.get(name).and_then(Value::as_bool);
        let mut authorities = Vec::new();
        for one in value.get("authorities")?.as_array()? {
            let roots = if truth(one, "roots")? { Some(blobs.next()?.to_vec()) } else { None };
            let eab = match text(one, "eab") {
                Some(kid) => Some(Eab { kid, key: Zeroizing::new(blobs.next()?.to_vec()) }),
                None => None,
            };
            authorities.push(Authority {
                directory: text(one, "directory")?,
                roots,
                agrees: truth(one, "agrees")?,
                contact: crate::handover::texts(one, "contact")?,
                eab,
            });
        }
        let mut certificates = Vec::new();
        for one in value.get("certificates")?.as_array()? {
            let identifiers = crate::handover::texts(one, "identifiers")?;
            let identifiers = identifiers.iter().map(|text| Identifier::parse(text).ok());
            let challenges = crate::handover::texts(one, "challenges")?;
            let challenges = challenges.iter().map(|name| KINDS.into_iter().find(|kind| kind.name() == name));
            certificates.push(Wanted {
                identifiers: identifiers.collect::<Option<_>>()?,
                key: if truth(one, "rsa")? { KeyType::Rsa2048 } else { KeyType::P256 },
                profile: text(one, "profile"),
                preferred_chain: text(one, "chain"),
                challenges: challenges.collect::<Option<_>>()?,
            });
        }
        let policy = usize::try_from(value.get("sandbox")?.as_u64()?).ok()?;
        let job = Job {
            plan: Plan { authorities, certificates },
            policy: *[Policy::Auto, Policy::Strict, Policy::Off].get(policy)?,
            events: if truth(&value, "json_events")? { events::Form::Json } else { events::Form::Text },
        };
        Some((job, descriptors.into_iter().next()?))
    }
}

/// Returns the port of a URL of HTTPS.
pub(super) fn port(url: &str) -> Option<u16> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let behind_host = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    match behind_host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(443),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_as_it_was_sent() {
        let authority = |eab| Authority {
            directory: "https://ca.example/directory".into(),
            roots: Some(b"PEM".to_vec()),
            agrees: true,
            contact: vec!["mailto:a@example.com".into()],
            eab,
        };
        let eab = Eab { kid: "kid".into(), key: Zeroizing::new(b"key".to_vec()) };
        let wanted = |key, names: &[&str]| Wanted {
            identifiers: names.iter().map(|name| Identifier::parse(name).unwrap()).collect(),
            key,
            profile: Some("shortlived".into()),
            preferred_chain: Some("a root".into()),
            challenges: vec![ChallengeKind::Dns01, ChallengeKind::TlsAlpn01],
        };
        let plan = Plan {
            authorities: vec![authority(Some(eab)), Authority { roots: None, ..authority(None) }],
            certificates: vec![
                wanted(KeyType::P256, &["a.example", "*.a.example"]),
                wanted(KeyType::Rsa2048, &["2001:db8::1", "192.0.2.7"]),
            ],
        };
        let job = Job { plan, policy: Policy::Strict, events: events::Form::Json };
        let folder = OwnedFd::from(std::fs::File::open("/").unwrap());
        let (value, blobs, descriptors) = job.parts(&folder);
        let blobs = blobs.iter().map(|blob| Zeroizing::new(blob.to_vec())).collect();
        let descriptors = descriptors.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let (read, _) = Job::read(Message { value, blobs, descriptors }).unwrap();
        assert_eq!(read, job);
    }

    #[test]
    fn ports_of_urls() {
        for (url, found) in [
            ("https://ca.example/directory", Some(443)),
            ("https://ca.example:14000/dir", Some(14000)),
            ("https://[::1]:8443/dir", Some(8443)),
            ("https://[::1]/dir", Some(443)),
            ("https://ca.example:99999/", None),
            ("http://ca.example/", None),
        ] {
            assert_eq!(port(url), found, "{url}");
        }
    }
}
