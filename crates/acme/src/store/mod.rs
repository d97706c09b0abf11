//! What is known about accounts, orders and certificates, in one folder:
//!
//! - `lock`: held for as long as a process has the folder;
//! - `accounts/NAME.json`: an account with an authority, and its key;
//! - `certificates/NAME.pem`: a key and its chain, in one file, so that both are replaced at once;
//! - `certificates/NAME.json`: what is known about that certificate;
//! - `orders/NAME.json`: an order in flight, with the key that it is for.

mod disk;
mod json;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde_json::Value;
use sitar_tls::Identity;
use zeroize::Zeroizing;

pub use disk::Gate;
use disk::{Content, Disk, UNFINISHED};
use json::Wrong;
use record::Stored;
pub(crate) use record::{Account, Asked, Order, Record};

use crate::hash;
use crate::plan::Authority;

/// Damaged files of one name that are kept.
const DAMAGED_MAX: usize = 4;

/// A sentence about what the folder cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// The folders in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Accounts,
    Certificates,
    Orders,
}

impl Room {
    const ALL: [Room; 3] = [Room::Accounts, Room::Certificates, Room::Orders];

    fn name(self) -> &'static str {
        match self {
            Room::Accounts => "accounts",
            Room::Certificates => "certificates",
            Room::Orders => "orders",
        }
    }
}

/// A certificate and its key.
pub(crate) struct Pair {
    /// Both, checked to belong together.
    pub(crate) identity: Identity,
    /// What the file has: the key, and the chain behind it.
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// The folder. This process alone has it.
#[derive(Debug)]
pub struct Store {
    disk: Disk,
    rooms: [OwnedFd; 3],
    _lock: OwnedFd,
    /// What is to be said: see [`take_said`](Store::take_said).
    said: Vec<String>,
}

impl Store {
    /// Takes a folder that other users cannot write to, and makes what is missing in it.
    ///
    /// # Errors
    /// Another process has it, others can write to it, or the kernel's.
    pub fn open(folder: BorrowedFd<'_>) -> Result<Store, StoreError> {
        Store::open_with(folder, None)
    }

    /// Opens it with a gate that each operation on a file passes, before it and after it.
    ///
    /// # Errors
    /// Those of [`open`](Store::open).
    pub fn open_with(folder: BorrowedFd<'_>, gate: Option<Gate>) -> Result<Store, StoreError> {
        let disk = Disk { gate };
        let failed = |error: io::Error| StoreError(format!("the state folder cannot be used: {error}"));
        let check = |folder: BorrowedFd<'_>, name: &str| match rustix::fs::fstat(folder) {
            Ok(stat) if disk::is_own(&stat) => Ok(()),
            Ok(_) => Err(StoreError(format!("{name} is another user's, or others can write to it"))),
            Err(errno) => Err(failed(errno.into())),
        };
        check(folder, "the state folder")?;
        let lock = disk.lock(folder, "lock").map_err(failed)?;
        let lock = lock.ok_or_else(|| StoreError("the state folder is in use by another process".into()))?;
        let open = |room: Room| {
            let opened = disk.folder(folder, room.name()).map_err(|error| {
                StoreError(format!("{} in the state folder cannot be used: {error}", room.name()))
            })?;
            check(opened.as_fd(), room.name()).map(|()| opened)
        };
        let rooms = [open(Room::Accounts)?, open(Room::Certificates)?, open(Room::Orders)?];
        let store = Store { disk, rooms, _lock: lock, said: Vec::new() };
        store.tidy().map_err(failed)?;
        Ok(store)
    }

    /// Removes files that were being written when the process before ended. One that stays is
    /// replaced when something is written under that name; what is not ours is left alone.
    fn tidy(&self) -> io::Result<()> {
        for room in Room::ALL {
            let names = self.disk.names(self.room(room).as_fd())?;
            let is_ours = |name: &&String| {
                name.starts_with(UNFINISHED) && (name.ends_with(".json") || name.ends_with(".pem"))
            };
            for name in names.iter().filter(is_ours) {
                let _removed = self.disk.remove(self.room(room).as_fd(), name);
            }
        }
        Ok(())
    }

    fn room(&self, room: Room) -> &OwnedFd {
        let [accounts, certificates, orders] = &self.rooms;
        match room {
            Room::Accounts => accounts,
            Room::Certificates => certificates,
            Room::Orders => orders,
        }
    }

    /// Returns the sentences about damaged files since the last call.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// Returns the names of the certificates that something is known about, wanted or not.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let names = self.disk.names(self.room(Room::Certificates).as_fd());
        let names = names.map_err(|error| StoreError(format!("certificates cannot be listed: {error}")))?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect())
    }

    /// Reads what is known about a certificate. `now` (seconds since 1970) becomes a part of the
    /// name of a file that is set aside, here and in the following.
    ///
    /// # Errors
    /// It cannot be read, or is from a later version: it must not be replaced.
    pub(crate) fn record(&mut self, name: &str, now: u64) -> Result<Option<Record>, StoreError> {
        self.read_json(Room::Certificates, name, now)
    }

    /// Stores it.
    ///
    /// # Errors
    /// The kernel's; the one before is there then.
    pub(crate) fn save_record(&self, name: &str, record: &Record) -> Result<(), StoreError> {
        self.save_json(Room::Certificates, name, record)
    }

    /// Reads the order in flight for a certificate.
    ///
    /// # Errors
    /// Those of [`record`](Store::record).
    pub(crate) fn order(&mut self, name: &str, now: u64) -> Result<Option<Order>, StoreError> {
        self.read_json(Room::Orders, name, now)
    }

    /// Stores it.
    ///
    /// # Errors
    /// The kernel's; the one before is there then.
    pub(crate) fn save_order(&self, name: &str, order: &Order) -> Result<(), StoreError> {
        self.save_json(Room::Orders, name, order)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn remove_order(&self, name: &str) -> Result<(), StoreError> {
        let file = file_name(name, ".json")?;
        let removed = self.disk.remove(self.room(Room::Orders).as_fd(), &file);
        removed.map_err(|error| failure(Room::Orders, &file, "removed", &error))
    }

    /// Reads the account with an authority.
    ///
    /// # Errors
    /// Those of [`record`](Store::record).
    pub(crate) fn account(&mut self, authority: &Authority, now: u64) -> Result<Option<Account>, StoreError> {
        let kid = authority.eab.as_ref().map(|eab| eab.kid.as_str());
        let name = account_name(&authority.directory, kid);
        let account: Option<Account> = self.read_json(Room::Accounts, &name, now)?;
        match account {
            Some(account) if account.authority == authority.directory && account.kid.as_deref() == kid => {
                Ok(Some(account))
            }
            Some(_) => {
                self.set_aside(Room::Accounts, &format!("{name}.json"), "it is of another account", now)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Stores it.
    ///
    /// # Errors
    /// The kernel's; the one before is there then.
    pub(crate) fn save_account(&self, account: &Account) -> Result<(), StoreError> {
        let name = account_name(&account.authority, account.kid.as_deref());
        self.save_json(Room::Accounts, &name, account)
    }

    /// Reads a certificate and its key, and the file's bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn pair(&mut self, name: &str, now: u64) -> Result<Option<Pair>, StoreError> {
        let file = file_name(name, ".pem")?;
        let Some(bytes) = self.read(Room::Certificates, &file, now)? else { return Ok(None) };
        match Identity::from_pem(&bytes, &bytes) {
            Ok(identity) => Ok(Some(Pair { identity, content: bytes })),
            Err(error) => {
                self.set_aside(Room::Certificates, &file, &error.to_string(), now)?;
                Ok(None)
            }
        }
    }

    /// Stores a certificate and its key, in PEM both.
    ///
    /// # Errors
    /// The kernel's; the ones before are there then.
    pub(crate) fn save_pair(&self, name: &str, key: &str, chain: &str) -> Result<(), StoreError> {
        let line = if key.ends_with('\n') { "" } else { "\n" };
        let len = key.len() + line.len() + chain.len();
        let mut content = Zeroizing::new(Vec::with_capacity(len));
        for part in [key, line, chain] {
            content.extend_from_slice(part.as_bytes());
        }
        self.write(Room::Certificates, &file_name(name, ".pem")?, &content)
    }

    fn read_json<T: Stored>(&mut self, room: Room, name: &str, now: u64) -> Result<Option<T>, StoreError> {
        let file = file_name(name, ".json")?;
        let Some(bytes) = self.read(room, &file, now)? else { return Ok(None) };
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            self.set_aside(room, &file, "it is not JSON", now)?;
            return Ok(None);
        };
        match T::from_value(&value) {
            Ok(value) => Ok(Some(value)),
            Err(Wrong::Newer) => Err(StoreError(format!(
                "{}/{file} in the state folder was written by a later version of sitar",
                room.name()
            ))),
            Err(Wrong::Member(member)) => {
                self.set_aside(room, &file, &format!("\"{member}\" in it is wrong"), now)?;
                Ok(None)
            }
        }
    }

    fn save_json<T: Stored>(&self, room: Room, name: &str, value: &T) -> Result<(), StoreError> {
        let content = Zeroizing::new(value.value().to_string());
        self.write(room, &file_name(name, ".json")?, content.as_bytes())
    }

    fn read(&mut self, room: Room, file: &str, now: u64) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match self.disk.read(self.room(room).as_fd(), file) {
            Ok(Content::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(Content::Missing) => Ok(None),
            Ok(Content::Foreign(why)) => self.set_aside(room, file, why, now).map(|()| None),
            Err(error) => Err(failure(room, file, "read", &error)),
        }
    }

    fn write(&self, room: Room, file: &str, content: &[u8]) -> Result<(), StoreError> {
        let written = self.disk.write(self.room(room).as_fd(), file, content);
        written.map_err(|error| failure(room, file, "written", &error))
    }

    /// Gives a file that is not to be trusted a name under which nothing looks for it.
    fn set_aside(&mut self, room: Room, file: &str, why: &str, now: u64) -> Result<(), StoreError> {
        let failed = |error| failure(room, file, "set aside", &error);
        let folder = self.room(room).as_fd();
        let names = self.disk.names(folder).map_err(failed)?;
        let start = format!("{file}.damaged-");
        // Of one length, so that their order is that of time.
        let aside = |number: u64| format!("{start}{:011}", now.saturating_add(number));
        let free = (0..u64::MAX).map(aside).find(|name| !names.contains(name)).unwrap_or_default();
        self.disk.rename(folder, file, &free).map_err(failed)?;
        let kept: Vec<_> = names.iter().filter(|name| name.starts_with(&start)).collect();
        for name in kept.iter().take((kept.len() + 1).saturating_sub(DAMAGED_MAX)) {
            // A folder stays: the one who has made it may want it.
            let _removed = self.disk.remove(folder, name);
        }
        self.said.push(format!(
            "{}/{file} in the state folder is not used: {why}. It is called {free} now",
            room.name()
        ));
        Ok(())
    }
}

fn failure(room: Room, file: &str, done: &str, error: &io::Error) -> StoreError {
    StoreError(format!("{}/{file} in the state folder cannot be {done}: {error}", room.name()))
}

/// Returns the name of a file of a certificate. A name has what [`Identifier`]s have, and `_`.
///
/// [`Identifier`]: crate::Identifier
fn file_name(name: &str, ending: &str) -> Result<String, StoreError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 230 || name.starts_with('.') || !name.bytes().all(is_plain) {
        return Err(StoreError(format!("{name:?} cannot be the name of a file")));
    }
    Ok(format!("{name}{ending}"))
}

/// Returns what the file of an account is called: the authority's host for people, and a hash.
fn account_name(directory: &str, kid: Option<&str>) -> String {
    let host = directory.split("://").nth(1).unwrap_or("").split(['/', ':', '?']).next().unwrap_or("");
    let host = host.bytes().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let host: String = host.skip_while(|byte| *byte == b'.').take(100).map(char::from).collect();
    let hash = match kid {
        Some(kid) => hash::of(&[directory.as_bytes(), kid.as_bytes()]),
        None => hash::of(&[directory.as_bytes()]),
    };
    format!("{host}_{hash:016x}")
}
