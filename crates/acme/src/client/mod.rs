//! What can be asked of an authority: each request of RFC 8555 and RFC 9773 as a function.

mod account;
mod directory;
mod renewal;

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::http::{Method, Response, Transport, Url};
use crate::json::Json;
use crate::jws::AccountKey;
use crate::outside::Outside;
use crate::problem::{Document, Failure, Kind, Problem};
use crate::time::retry_after;
pub use directory::Directory;
pub use renewal::RenewalInfo;

/// How often a request is signed again because its nonce was refused. A server that refuses every
/// second one gets past this once in a million.
const NONCES_MAX: u32 = 20;
/// The most bytes of a nonce.
const NONCE_MAX: usize = 1024;
/// The media type of what is signed (RFC 8555 §6.2).
const JOSE: &str = "application/jose+json";
/// The first and the longest pause between two looks at something that an authority is working on.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest pause that an authority may ask for between two looks.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(120);

/// A conversation with an authority.
pub struct Client {
    transport: Box<dyn Transport>,
    directory: Directory,
    key: AccountKey,
    /// The URL of the account, once it is known.
    account: Option<String>,
    nonce: Option<String>,
    /// From then on nothing is asked any more.
    end: Option<SystemTime>,
}

/// An answer to a signed request.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// `Value::Null` where the answer is no JSON.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn json(&self) -> Json<'_> {
        Json::new(&self.json)
    }

    /// The URL in Location, if it is one.
    pub(crate) fn location(&self) -> Result<String, Failure> {
        let location = self.response.field("location").unwrap_or_default();
        Url::parse(location)?;
        Ok(location.to_owned())
    }

    pub(crate) fn retry_after(&self, now: SystemTime) -> Option<SystemTime> {
        self.response.field("retry-after").and_then(|field| retry_after(field, now))
    }
}

impl Client {
    /// Reads the directory of an authority. `account` is the URL of the account of the key, where
    /// it is known.
    ///
    /// # Errors
    /// The authority cannot be reached, or this is no directory.
    pub fn connect(
        mut transport: Box<dyn Transport>,
        url: &str,
        key: AccountKey,
        account: Option<String>,
        outside: &mut dyn Outside,
    ) -> Result<Client, Failure> {
        let response = get(&mut *transport, url, outside);
        let read = response.and_then(|response| parse(&response)).and_then(|json| Directory::read(&json));
        let directory = read.map_err(|failure| match failure.kind {
            Kind::Garbage => failure.with_hint("is this the URL of an ACME directory?"),
            _ => failure,
        })?;
        Ok(Client { transport, directory, key, account, nonce: None, end: None })
    }

    /// Returns what the authority has said about itself.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the key of the account.
    #[must_use]
    pub fn key(&self) -> &AccountKey {
        &self.key
    }

    /// Returns the URL of the account, if it is known.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Sets the time after which every request fails; `None`: there is none.
    pub(crate) fn set_end(&mut self, end: Option<SystemTime>) {
        self.end = end;
    }

    /// Signs with another key from now on.
    pub(crate) fn set_key(&mut self, key: AccountKey) {
        self.key = key;
    }

    /// Names another account from now on.
    pub(crate) fn set_account(&mut self, account: Option<String>) {
        self.account = account;
    }

    /// Asks for a resource of the account (POST-as-GET, RFC 8555 §6.3).
    pub(crate) fn fetch(&mut self, url: &str, outside: &mut dyn Outside) -> Result<Answer, Failure> {
        self.post(url, "", outside)
    }

    /// Sends a signed request whose answer is JSON, or nothing.
    pub(crate) fn post(
        &mut self,
        url: &str,
        payload: &str,
        outside: &mut dyn Outside,
    ) -> Result<Answer, Failure> {
        let response = self.post_raw(url, payload, true, outside)?;
        let json = if response.body.is_empty() { Value::Null } else { parse(&response)? };
        Ok(Answer { response, json })
    }

    /// Sends a signed request. `with_account`: it names the account, otherwise it contains the key.
    pub(crate) fn post_raw(
        &mut self,
        url: &str,
        payload: &str,
        with_account: bool,
        outside: &mut dyn Outside,
    ) -> Result<Response, Failure> {
        let account = if with_account { self.account.clone() } else { None };
        if with_account && account.is_none() {
            return Err(Failure::new(
                Kind::Refused(Problem::AccountDoesNotExist),
                "there is no account with the authority yet",
            ));
        }
        let mut tries = 0;
        loop {
            let nonce = self.take_nonce(outside)?;
            let body = self.key.sign(account.as_deref(), Some(&nonce), url, payload)?;
            going_on(outside)?;
            if self.end.is_some_and(|end| outside.now() >= end) {
                let what = "the authority has not come to an end within ten minutes";
                return Err(Failure::new(Kind::Unreachable, what));
            }
            let response = self.transport.request(Method::Post, url, Some((JOSE, body.as_bytes())))?;
            self.nonce = nonce_of(&response);
            tries += 1;
            match judge(response, outside.now()) {
                Err(failure) if failure.is(Problem::BadNonce) && tries < NONCES_MAX => {}
                other => return other,
            }
        }
    }

    fn take_nonce(&mut self, outside: &mut dyn Outside) -> Result<String, Failure> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        going_on(outside)?;
        let response = self.transport.request(Method::Head, &self.directory.new_nonce, None)?;
        let response = judge(response, outside.now())?;
        nonce_of(&response).ok_or_else(|| Failure::garbage("the authority gives no nonce that can be used"))
    }
}

/// Asks for something that needs no signature.
fn get(transport: &mut dyn Transport, url: &str, outside: &mut dyn Outside) -> Result<Response, Failure> {
    going_on(outside)?;
    judge(transport.request(Method::Get, url, None)?, outside.now())
}

/// Waits before the next look at what the authority is working on, as long as it asks for.
/// `looks` is how many there have been.
pub(crate) fn rest(answer: &Answer, looks: u32, outside: &mut dyn Outside) -> Result<(), Failure> {
    let now = outside.now();
    let grown = PAUSE_FIRST.saturating_mul(1 << looks.min(8)).min(PAUSE_MAX);
    let asked = answer.retry_after(now).and_then(|until| until.duration_since(now).ok());
    let until = now + asked.map_or(grown, |asked| asked.clamp(PAUSE_FIRST, PAUSE_ASKED_MAX));
    // A command ends a wait early; it is for the caller, who has seen it.
    while outside.now() < until && outside.wait(Some(until)).is_some() {
        going_on(outside)?;
    }
    going_on(outside)
}

/// Returns an error if the process is to end.
pub(crate) fn going_on(outside: &mut dyn Outside) -> Result<(), Failure> {
    if outside.is_ending() {
        return Err(Failure::new(
            Kind::Ending,
            "sitar is ending, and goes on with the order when it is started",
        ));
    }
    Ok(())
}

/// Returns a nonce that can be used (RFC 8555 §6.5.1: base64url).
fn nonce_of(response: &Response) -> Option<String> {
    let nonce = response.field("replay-nonce")?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((1..=NONCE_MAX).contains(&nonce.len()) && nonce.bytes().all(is_base64)).then(|| nonce.to_owned())
}

fn parse(response: &Response) -> Result<Value, Failure> {
    serde_json::from_slice(&response.body).map_err(|_| {
        let is_html = response.body.trim_ascii_start().starts_with(b"<");
        let found = if is_html { "a page of HTML" } else { "something else" };
        Failure::garbage(format!("the authority answers with {found}, where JSON is due"))
    })
}

/// Returns an answer that says that all is well, or what it says.
fn judge(response: Response, now: SystemTime) -> Result<Response, Failure> {
    let status = response.status;
    if (200..300).contains(&status) {
        return Ok(response);
    }
    if (300..400).contains(&status) {
        let to = crate::problem::printable(response.field("location").unwrap_or("nowhere"));
        let what =
            format!("the authority's answer leads elsewhere ({status}), to {to}; that is not followed");
        return Err(Failure::garbage(what));
    }
    let until = response.field("retry-after").and_then(|field| retry_after(field, now));
    let json: Option<Value> = serde_json::from_slice(&response.body).ok();
    if let Some(json) = json.filter(|json| json.get("type").is_some() || json.get("detail").is_some()) {
        let document = Document::read(Json::new(&json));
        return Err(document.failure(None, until));
    }
    let mut failure = match status {
        429 => Document::read(Json::new(
            &serde_json::json!({ "type": "urn:ietf:params:acme:error:rateLimited" }),
        ))
        .failure(None, until),
        404 | 410 => Failure::new(
            Kind::Refused(Problem::Malformed),
            format!("the authority has no such page ({status})"),
        ),
        500.. => Failure::new(
            Kind::Refused(Problem::ServerInternal),
            format!("the authority has a fault of its own ({status})"),
        ),
        _ => Failure::garbage(format!("the authority answers {status} without a reason")),
    };
    failure.until = until;
    Err(failure)
}
