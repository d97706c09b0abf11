//! What is stored as JSON: certificates, orders and accounts.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::json::{Members, VERSION, Wrong, cut, text};
use crate::identifier::Identifier;
use crate::plan::{ChallengeKind, KeyType, Wanted};
use crate::schedule::{Event, EventKind, Window};

/// The events that are kept, the newest ones.
const EVENTS_MAX: usize = 256;
/// The kinds of challenges that are remembered as having failed, and the authorities' bans.
const AVOID_MAX: usize = 512;
const BANS_MAX: usize = 16;

/// What a certificate was ordered as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its names and addresses.
    pub(crate) identifiers: Vec<Identifier>,
    /// The type of its key.
    pub(crate) key: KeyType,
    /// The profile; `None`: the authority's default.
    pub(crate) profile: Option<String>,
}

/// What is known about a certificate beside itself: `certificates/NAME.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The directory of the authority that has issued the one on disk.
    pub(crate) authority: Option<String>,
    /// What the one on disk was ordered as.
    pub(crate) asked: Option<Asked>,
    /// The window of the authority for its renewal (RFC 9773), which belongs to the certificate
    /// with that serial.
    pub(crate) window: Option<(String, Window)>,
    /// When the authority is asked for the window again, in seconds since 1970.
    pub(crate) ask_at: Option<u64>,
    /// Orders and failures, as far as limits need them.
    pub(crate) events: Vec<Event>,
    /// Orders that have failed, one after the other.
    pub(crate) failures: u32,
    /// When the next attempt is due after a failure.
    pub(crate) retry_at: Option<u64>,
    /// A hash of the wish that has failed: for another one, failures are over.
    pub(crate) tried: Option<u64>,
    /// Until when an authority forbids orders: its directory and the time.
    pub(crate) bans: Vec<(String, u64)>,
    /// Why the last order, or a command, has failed.
    pub(crate) failed: Option<String>,
    /// The step that helps.
    pub(crate) hint: Option<String>,
    /// Kinds of challenges that have failed the last time.
    pub(crate) avoid: Vec<(Identifier, ChallengeKind)>,
}

/// An order in flight: `orders/NAME.json`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The directory of the authority.
    pub(crate) authority: String,
    /// The identifier of the external account, as for the [`Account`].
    pub(crate) kid: Option<String>,
    /// Its URL.
    pub(crate) url: String,
    /// The key of the certificate in PEM.
    pub(crate) key: Zeroizing<String>,
    /// The authority may have been asked to issue.
    pub(crate) is_finalized: bool,
    /// What is ordered.
    pub(crate) asked: Asked,
}

/// An account with an authority: `accounts/NAME.json`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The directory of the authority.
    pub(crate) authority: String,
    /// The identifier of the external account.
    pub(crate) kid: Option<String>,
    /// Its key in PEM.
    pub(crate) key: Zeroizing<String>,
    /// The key that is to take its place, from before the authority is asked until it has agreed.
    pub(crate) next_key: Option<Zeroizing<String>>,
    /// Its URL; `None`: the authority has not told it yet.
    pub(crate) url: Option<String>,
    /// Where the authority may write to.
    pub(crate) contact: Vec<String>,
    /// When it was asked for an account, in seconds since 1970.
    pub(crate) attempts: Vec<u64>,
}

impl Asked {
    /// Returns what is ordered for that wish.
    #[must_use]
    pub(crate) fn of(wanted: &Wanted) -> Asked {
        let identifiers = wanted.identifiers.clone();
        Asked { identifiers, key: wanted.key, profile: wanted.profile.clone() }
    }

    /// Returns whether a certificate that was ordered as this is what is wanted. The order of names
    /// is of no account.
    #[must_use]
    pub(crate) fn is_for(&self, wanted: &Wanted) -> bool {
        let sorted = |identifiers: &[Identifier]| {
            let mut all = identifiers.to_vec();
            all.sort_unstable();
            all
        };
        self.key == wanted.key
            && self.profile == wanted.profile
            && sorted(&self.identifiers) == sorted(&wanted.identifiers)
    }

    fn to_value(&self) -> Value {
        let identifiers: Vec<_> = self.identifiers.iter().map(ToString::to_string).collect();
        let key = match self.key {
            KeyType::P256 => "p256",
            KeyType::Rsa2048 => "rsa2048",
        };
        json!({ "identifiers": identifiers, "key": key, "profile": self.profile })
    }

    fn read(members: Members<'_>) -> Result<Asked, Wrong> {
        let identifiers = members.texts("identifiers")?;
        let identifiers = identifiers.iter().map(|one| identifier(one)).collect::<Result<Vec<_>, _>>()?;
        let key = match members.needed_text("key")? {
            "p256" => KeyType::P256,
            "rsa2048" => KeyType::Rsa2048,
            _ => return Err(Wrong::Member("key")),
        };
        Ok(Asked { identifiers, key, profile: members.text("profile")?.map(str::to_owned) })
    }
}

fn identifier(text: &str) -> Result<Identifier, Wrong> {
    Identifier::parse(text).map_err(|_| Wrong::Member("identifiers"))
}

impl Record {
    pub(super) fn to_value(&self) -> Value {
        let events = self.events.get(self.events.len().saturating_sub(EVENTS_MAX)..).unwrap_or_default();
        let events: Vec<_> = events
            .iter()
            .map(|event| json!([event.at, event.kind.name(), cut(&event.authority), event.set]))
            .collect();
        let bans: Vec<_> = self.bans.iter().take(BANS_MAX).map(|ban| json!([cut(&ban.0), ban.1])).collect();
        let avoid = self.avoid.iter().take(AVOID_MAX);
        let avoid: Vec<_> = avoid.map(|(name, kind)| json!([name.to_string(), kind.name()])).collect();
        let window = self
            .window
            .as_ref()
            .map(|(serial, window)| json!({ "serial": serial, "start": window.start, "end": window.end }));
        json!({
            "version": VERSION,
            "authority": self.authority,
            "asked": self.asked.as_ref().map(Asked::to_value),
            "window": window,
            "ask_at": self.ask_at,
            "events": events,
            "failures": self.failures,
            "retry_at": self.retry_at,
            "tried": self.tried,
            "bans": bans,
            "failed": self.failed.as_deref().map(cut),
            "hint": self.hint.as_deref().map(cut),
            "avoid": avoid,
        })
    }

    pub(super) fn read(value: &Value) -> Result<Record, Wrong> {
        let members = Members::of_file(value)?;
        let window = members.object("window")?.map(|window| {
            let (start, end) = (window.needed_number("start")?, window.needed_number("end")?);
            Ok((window.needed_text("serial")?.to_owned(), Window { start, end }))
        });
        let failures = u32::try_from(members.needed_number("failures")?);
        Ok(Record {
            authority: members.text("authority")?.map(str::to_owned),
            asked: members.object("asked")?.map(Asked::read).transpose()?,
            window: window.transpose()?,
            ask_at: members.number("ask_at")?,
            events: members.list("events")?.iter().map(event).collect::<Result<_, _>>()?,
            failures: failures.map_err(|_| Wrong::Member("failures"))?,
            retry_at: members.number("retry_at")?,
            tried: members.number("tried")?,
            bans: members.list("bans")?.iter().map(ban).collect::<Result<_, _>>()?,
            failed: members.text("failed")?.map(str::to_owned),
            hint: members.text("hint")?.map(str::to_owned),
            avoid: members.list("avoid")?.iter().map(avoided).collect::<Result<_, _>>()?,
        })
    }
}

fn event(value: &Value) -> Result<Event, Wrong> {
    let wrong = || Wrong::Member("events");
    let [at, kind, authority, set] = value.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(wrong());
    };
    Ok(Event {
        at: at.as_u64().ok_or_else(wrong)?,
        kind: kind.as_str().and_then(EventKind::from_name).ok_or_else(wrong)?,
        authority: text(authority, "events")?.to_owned(),
        set: set.as_u64().ok_or_else(wrong)?,
    })
}

fn ban(value: &Value) -> Result<(String, u64), Wrong> {
    let wrong = || Wrong::Member("bans");
    let [authority, until] = value.as_array().map_or(&[][..], Vec::as_slice) else { return Err(wrong()) };
    Ok((text(authority, "bans")?.to_owned(), until.as_u64().ok_or_else(wrong)?))
}

fn avoided(value: &Value) -> Result<(Identifier, ChallengeKind), Wrong> {
    let wrong = || Wrong::Member("avoid");
    let [name, kind] = value.as_array().map_or(&[][..], Vec::as_slice) else { return Err(wrong()) };
    let kinds = [ChallengeKind::TlsAlpn01, ChallengeKind::Http01, ChallengeKind::Dns01];
    let kind = kinds.into_iter().find(|one| kind.as_str() == Some(one.name())).ok_or_else(wrong)?;
    Ok((identifier(text(name, "avoid")?)?, kind))
}

impl Order {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "version": VERSION,
            "authority": self.authority,
            "kid": self.kid,
            "url": self.url,
            "key": *self.key,
            "finalized": self.is_finalized,
            "asked": self.asked.to_value(),
        })
    }

    pub(super) fn read(value: &Value) -> Result<Order, Wrong> {
        let members = Members::of_file(value)?;
        Ok(Order {
            authority: members.needed_text("authority")?.to_owned(),
            kid: members.text("kid")?.map(str::to_owned),
            url: members.needed_text("url")?.to_owned(),
            key: Zeroizing::new(members.needed_text("key")?.to_owned()),
            is_finalized: members.flag("finalized")?,
            asked: members.object("asked")?.map(Asked::read).transpose()?.ok_or(Wrong::Member("asked"))?,
        })
    }
}

impl Account {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "version": VERSION,
            "authority": self.authority,
            "kid": self.kid,
            "key": *self.key,
            "next_key": self.next_key.as_deref(),
            "url": self.url,
            "contact": self.contact,
            "attempts": self.attempts,
        })
    }

    pub(super) fn read(value: &Value) -> Result<Account, Wrong> {
        let members = Members::of_file(value)?;
        let attempts = members.list("attempts")?.iter().map(Value::as_u64);
        Ok(Account {
            authority: members.needed_text("authority")?.to_owned(),
            kid: members.text("kid")?.map(str::to_owned),
            key: Zeroizing::new(members.needed_text("key")?.to_owned()),
            next_key: members.text("next_key")?.map(|key| Zeroizing::new(key.to_owned())),
            url: members.text("url")?.map(str::to_owned),
            contact: members.texts("contact")?,
            attempts: attempts.collect::<Option<_>>().ok_or(Wrong::Member("attempts"))?,
        })
    }
}

/// A value that goes into a file.
pub(super) trait Stored: Sized {
    fn value(&self) -> Value;
    fn from_value(value: &Value) -> Result<Self, Wrong>;
}

macro_rules! stored {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            fn value(&self) -> Value {
                self.to_value()
            }

            fn from_value(value: &Value) -> Result<Self, Wrong> {
                <$type>::read(value)
            }
        }
    )*};
}

stored!(Record, Order, Account);
