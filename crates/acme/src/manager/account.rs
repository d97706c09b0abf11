//! Accounts with authorities, and what is done by them beside orders.

use zeroize::Zeroizing;

use super::patient::Patient;
use super::{Manager, time};
use crate::client::Client;
use crate::jws::AccountKey;
use crate::outside::Level;
use crate::plan::Authority;
use crate::problem::{Failure, Kind, Problem};
use crate::schedule;
use crate::store::{Account, Store, StoreError};

/// The attempts to open an account that are remembered.
const ATTEMPTS_MAX: usize = 16;

impl Manager<'_> {
    /// Returns the outside as an attempt sees it, and the store.
    pub(super) fn patient(&mut self) -> (Patient<'_>, &mut Store) {
        (Patient { outside: self.outside, kept: &mut self.kept }, &mut self.store)
    }

    /// Opens a conversation with an authority. `with_account`: by an account, which is opened if
    /// there is none.
    pub(super) fn connected(&mut self, authority: &Authority, with_account: bool) -> Result<Client, Failure> {
        let transport = (self.connect)(authority)?;
        let now = self.now();
        let stored = self.store.account(authority, now).map_err(storage);
        for text in self.store.take_said() {
            self.say(Level::Warning, &text);
        }
        let mut account = match stored? {
            Some(account) => account,
            None => new_account(authority)?,
        };
        let (mut outside, store) = self.patient();
        let key = AccountKey::from_pem(account.key.as_bytes())?;
        let url = account.url.clone();
        let mut client = Client::connect(transport, &authority.directory, key, url, &mut outside)?;
        if !with_account {
            return Ok(client);
        }
        if let Some(next) = account.next_key.clone() {
            // A roll-over was under way: the authority knows whether it has taken place.
            let key = AccountKey::from_pem(next.as_bytes())?;
            client.set_key(key);
            match client.find_account(&mut outside)? {
                Some(_) => account.key = next,
                None => {
                    client.set_key(AccountKey::from_pem(account.key.as_bytes())?);
                    client.set_account(account.url.clone());
                }
            }
            account.next_key = None;
            store.save_account(&account).map_err(storage)?;
        }
        if account.url.is_none() {
            // What the authority is not asked for is not counted as asked.
            client.may_open_account(authority)?;
            if account.attempts.iter().any(|at| *at > now) {
                // The clock was fast. They are counted once more, and not for ever.
                account.attempts.iter_mut().for_each(|at| *at = now.min(*at));
                store.save_account(&account).map_err(storage)?;
            }
            let at = schedule::account_earliest(now, &account.attempts);
            if at > now {
                let what = "an account was asked for several times, and the authority limits that";
                let mut failure = Failure::new(Kind::Refused(Problem::RateLimited), what);
                failure.until = Some(time(at));
                return Err(failure);
            }
            account.attempts.push(now);
            let old = account.attempts.len().saturating_sub(ATTEMPTS_MAX);
            account.attempts.drain(..old);
            // The key, before the authority knows it.
            store.save_account(&account).map_err(storage)?;
            account.url = Some(client.open_account(authority, &mut outside)?);
            account.contact.clone_from(&authority.contact);
            store.save_account(&account).map_err(storage)?;
        } else if account.contact != authority.contact {
            client.update_contact(&authority.contact, &mut outside)?;
            account.contact.clone_from(&authority.contact);
            store.save_account(&account).map_err(storage)?;
        }
        Ok(client)
    }

    /// Forgets that an authority knows the account: it has said that it does not. The key stays.
    pub(super) fn forget_account(&mut self, authority: &Authority) {
        let now = self.now();
        let Ok(Some(mut account)) = self.store.account(authority, now) else { return };
        account.url = None;
        if let Err(error) = self.store.save_account(&account) {
            self.say(Level::Warning, &error.to_string());
        }
    }

    /// Replaces the keys of all accounts that there are.
    pub(super) fn roll_over(&mut self) {
        for authority in self.plan.authorities.clone() {
            let name = &authority.directory;
            match self.roll_over_one(&authority) {
                Ok(true) => self.say(Level::Note, &format!("the account with {name} has a new key")),
                Ok(false) => {}
                Err(failure) => {
                    let text = format!("the account with {name} keeps its key: {}", failure.what);
                    self.say(Level::Warning, &text);
                }
            }
        }
    }

    fn roll_over_one(&mut self, authority: &Authority) -> Result<bool, Failure> {
        let now = self.now();
        let found = self.store.account(authority, now).map_err(storage)?;
        if found.is_none_or(|account| account.url.is_none()) {
            return Ok(false);
        }
        let mut client = self.connected(authority, true)?;
        let Some(mut account) = self.store.account(authority, now).map_err(storage)? else {
            return Ok(false);
        };
        let key = AccountKey::generate()?;
        let next = text_of(&key);
        let (mut outside, store) = self.patient();
        // Before the authority is asked, so that no end of the process loses it.
        account.next_key = Some(next.clone());
        store.save_account(&account).map_err(storage)?;
        client.change_key(key, &mut outside)?;
        account.key = next;
        account.next_key = None;
        store.save_account(&account).map_err(storage)?;
        Ok(true)
    }

    /// Revokes the certificate on disk, and has another one ordered.
    pub(super) fn revoke(&mut self, place: usize, reason: u8) {
        let Some(held) = self.held.get(place) else { return };
        let name = held.name.clone();
        let (Some(known), Some(directory)) = (&held.known, &held.record.authority) else {
            return self.not_revoked(place, format!("no certificate of {name} is there to be revoked"));
        };
        let (der, directory) = (known.der.clone(), directory.clone());
        let authority = self.plan.authorities.iter().find(|authority| authority.directory == directory);
        let Some(authority) = authority.cloned() else {
            let text = format!("the certificate of {name} is from {directory}, which is not in use any more");
            return self.not_revoked(place, text);
        };
        let revoked = self.connected(&authority, true).and_then(|mut client| {
            let (mut outside, _) = self.patient();
            client.revoke(&der, reason, &mut outside)
        });
        if let Err(failure) = revoked {
            let text = format!("the certificate of {name} is not revoked: {}", failure.what);
            return self.not_revoked(place, text);
        }
        self.say(Level::Note, &format!("the certificate of {name} is revoked"));
        let Some(held) = self.held.get_mut(place) else { return };
        held.force();
        // Whatever happens, it is not what is wanted.
        held.record.asked = None;
        let saved = self.store.save_record(&name, &held.record);
        if let Err(error) = saved {
            self.say(Level::Warning, &error.to_string());
        }
        self.tell(place);
    }

    /// Says why a certificate is not revoked, also to those who ask for its state. Why there is
    /// none is not lost by that.
    fn not_revoked(&mut self, place: usize, text: String) {
        self.say(Level::Warning, &text);
        let Some(held) = self.held.get_mut(place) else { return };
        if held.known.is_some() || held.record.failed.is_none() {
            held.record.hint =
                held.known.as_ref().map(|_| format!("then again: sitar cert revoke {}", held.name));
            held.record.failed = Some(text);
            if let Err(error) = self.store.save_record(&held.name, &held.record) {
                self.say(Level::Warning, &error.to_string());
            }
        }
        self.tell(place);
    }
}

fn new_account(authority: &Authority) -> Result<Account, Failure> {
    Ok(Account {
        authority: authority.directory.clone(),
        kid: authority.eab.as_ref().map(|eab| eab.kid.clone()),
        key: text_of(&AccountKey::generate()?),
        next_key: None,
        url: None,
        contact: Vec::new(),
        attempts: Vec::new(),
    })
}

fn text_of(key: &AccountKey) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(&key.to_pem()).into_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(super) fn storage(error: StoreError) -> Failure {
    Failure::new(Kind::Storage, error.to_string())
        .with_hint("look at the disk, and at the rights of the folder")
}
