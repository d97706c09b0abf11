//! Files of users and the hashes of their passwords, as `htpasswd` of Apache writes them.
//!
//! Kept are bcrypt and SHA-crypt, whose cost can be chosen. A line of another kind is refused, with
//! the command that makes a better one. Costs are bounded, so that no file can keep the thread that
//! computes hashes busy for long.

use std::collections::HashMap;
use std::fmt;

use sha_crypt::Params;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::base64::{self, BCRYPT, CRYPT};

/// Bytes of a file, at most.
const FILE_MAX: usize = 1 << 20;
/// Bytes of a name, at most.
pub(super) const NAME_MAX: usize = 255;
/// Bytes of a password, at most; `htpasswd` takes no more.
pub(super) const PASSWORD_MAX: usize = 255;
/// The costs of bcrypt that are taken: 2^14 is about a second.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// The rounds of SHA-crypt that are taken, and those without `rounds=`.
const ROUNDS: std::ops::RangeInclusive<u32> = 1000..=1_000_000;
const ROUNDS_DEFAULT: u32 = 5000;
/// Bytes of a salt of SHA-crypt, at most.
const SALT_MAX: usize = 16;
/// Bytes of a password that bcrypt takes, with the zero behind it.
const BCRYPT_MAX: usize = 72;

/// Users, and the hashes of their passwords.
pub struct Users {
    by_name: HashMap<Box<[u8]>, Hash>,
    /// A hash of the kind and cost that most entries have: computed for a name that is not there.
    stand_in: Option<Hash>,
}

/// The hash of a password.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Hash {
    Bcrypt { cost: u32, salt: [u8; 16], hash: [u8; 23] },
    Sha256 { rounds: u32, salt: Salt, hash: [u8; 43] },
    Sha512 { rounds: u32, salt: Salt, hash: [u8; 86] },
}

#[derive(Clone, Copy, Eq, PartialEq)]
struct Salt {
    bytes: [u8; SALT_MAX],
    len: u8,
}

/// A line that is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsersError {
    /// Its number, from 1; 0: the file as a whole.
    pub line: usize,
    /// The mistake: the end of a sentence.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.why)?;
        self.hint.iter().try_for_each(|hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for UsersError {}

impl fmt::Debug for Users {
    // By hand, so that no hash can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    /// Bytes that a file may have: 1 MiB.
    pub const FILE_MAX: usize = FILE_MAX;

    /// Reads a file: `name:hash` in each line. Empty lines and those that begin with `#` are
    /// passed over.
    ///
    /// # Errors
    /// The first line that is refused, or the file has no user.
    pub fn parse(text: &[u8]) -> Result<Users, UsersError> {
        let whole = |why: &str, hint: &str| UsersError { line: 0, why: why.into(), hint: Some(hint.into()) };
        if text.len() > FILE_MAX {
            return Err(whole("it has more than 1 MiB", "a file of users has a line for each user"));
        }
        let mut by_name: HashMap<Box<[u8]>, Hash> = HashMap::new();
        let mut kinds: Vec<(Hash, usize)> = Vec::new();
        for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let refuse = |why: String, hint: Option<String>| UsersError { line: number, why, hint };
            let (name, hash) = entry(line).map_err(|(why, hint)| refuse(why.into(), hint))?;
            if by_name.insert(name.into(), hash).is_some() {
                let name = String::from_utf8_lossy(name);
                return Err(refuse(format!("the user '{}' is there twice", name.escape_debug()), None));
            }
            match kinds.iter_mut().find(|(other, _)| other.is_like(&hash)) {
                Some((_, count)) => *count += 1,
                None => kinds.push((hash, 1)),
            }
        }
        if by_name.is_empty() {
            return Err(whole("it has no user", "add one: htpasswd -B FILE NAME"));
        }
        // Of kinds that are equally common, the first in the file.
        let most = kinds.iter().rev().max_by_key(|(_, count)| *count);
        Ok(Users { by_name, stand_in: most.map(|(hash, _)| *hash) })
    }

    /// Returns whether this is the password of that user. Computes one hash, also where there is no
    /// such user. Takes as long as its cost says: milliseconds, or a second.
    #[must_use]
    pub fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        match self.by_name.get(name) {
            Some(hash) => hash.is_of(password),
            None => {
                // As long as for a wrong password, or the time would tell which names there are.
                let _ = self.stand_in.as_ref().map(|hash| hash.is_of(password));
                false
            }
        }
    }
}

/// Why a line is refused, and what to do.
type Refusal = (&'static str, Option<String>);

/// Reads a line.
fn entry(line: &[u8]) -> Result<(&[u8], Hash), Refusal> {
    let colon = line.iter().position(|&byte| byte == b':');
    let Some(colon) = colon.filter(|&at| at > 0) else {
        return Err(("a line is a name, a colon and a hash", Some("make one: htpasswd -nB NAME".into())));
    };
    let (name, hash) = (&line[..colon], &line[colon + 1..]);
    if name.len() > NAME_MAX {
        return Err(("a name has at most 255 bytes", None));
    }
    if name.iter().any(u8::is_ascii_control) {
        return Err(("a name has no control characters", None));
    }
    // For a shell, where the name is a word that needs no quotes.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(byte);
    let shown = if name.iter().all(is_plain) && name[0] != b'-' {
        String::from_utf8_lossy(name)
    } else {
        "NAME".into()
    };
    Hash::parse(hash)
        .map(|hash| (name, hash))
        .map_err(|why| (why, Some(format!("make another line: htpasswd -nB {shown}"))))
}

impl Hash {
    fn parse(text: &[u8]) -> Result<Hash, &'static str> {
        let fields: Vec<&[u8]> = text.split(|&byte| byte == b'$').collect();
        match fields[..] {
            [b"", b"2a" | b"2b" | b"2y", cost, rest] => bcrypt(cost, rest),
            [b"", kind @ (b"5" | b"6"), ref rest @ ..] => sha_crypt(kind == b"6", rest),
            [b"", b"apr1", ..] => Err("hashes of the kind apr1 (MD5) are not taken"),
            [b"", b"1", ..] => Err("hashes of the kind $1$ (MD5) are not taken"),
            [b"", b"2" | b"2x", ..] => Err("hashes of an early, faulty bcrypt are not taken"),
            _ if text.starts_with(b"{SHA}") => Err("hashes of the kind {SHA} are not taken"),
            _ if text.starts_with(b"{") || text.starts_with(b"$") => Err("hashes of this kind are not taken"),
            _ => Err("what stands behind the name is no hash of bcrypt or SHA-crypt"),
        }
    }

    /// Whether a password takes as long with both.
    fn is_like(&self, other: &Hash) -> bool {
        match (self, other) {
            (Hash::Bcrypt { cost: one, .. }, Hash::Bcrypt { cost: other, .. }) => one == other,
            (Hash::Sha256 { rounds: one, .. }, Hash::Sha256 { rounds: other, .. })
            | (Hash::Sha512 { rounds: one, .. }, Hash::Sha512 { rounds: other, .. }) => one == other,
            _ => false,
        }
    }

    /// Computes the hash of a password, and compares in constant time.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Hash::Bcrypt { cost, salt, hash } => {
                // With the zero that ends a string of C, and no more than the algorithm takes.
                let mut key = Zeroizing::new([0; BCRYPT_MAX]);
                let len = password.len().min(BCRYPT_MAX);
                key[..len].copy_from_slice(&password[..len]);
                let computed =
                    Zeroizing::new(bcrypt::bcrypt(*cost, *salt, &key[..(len + 1).min(BCRYPT_MAX)]));
                computed[..hash.len()].ct_eq(hash).into()
            }
            Hash::Sha256 { rounds, salt, hash } => {
                let Ok(params) = Params::new(*rounds) else { return false };
                let computed = Zeroizing::new(sha_crypt::sha256_crypt(password, salt.get(), params));
                encode_sha256(&computed).ct_eq(hash).into()
            }
            Hash::Sha512 { rounds, salt, hash } => {
                let Ok(params) = Params::new(*rounds) else { return false };
                let computed = Zeroizing::new(sha_crypt::sha512_crypt(password, salt.get(), params));
                encode_sha512(&computed).ct_eq(hash).into()
            }
        }
    }
}

impl Salt {
    fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

fn bcrypt(cost: &[u8], rest: &[u8]) -> Result<Hash, &'static str> {
    const CUT: &str = "the hash of bcrypt is damaged";
    let &[tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = cost else { return Err(CUT) };
    let cost = u32::from(tens - b'0') * 10 + u32::from(ones - b'0');
    if !COSTS.contains(&cost) {
        return Err("the cost of bcrypt is not between 4 and 14");
    }
    let (mut salt, mut hash) = ([0; 16], [0; 23]);
    let (first, last) = rest.split_at_checked(22).ok_or(CUT)?;
    if last.len() != 31 || !decode_lax(first, &mut salt) || !decode_lax(last, &mut hash) {
        return Err(CUT);
    }
    Ok(Hash::Bcrypt { cost, salt, hash })
}

/// Decodes the alphabet of bcrypt. Programs leave bits behind the last byte as they come.
fn decode_lax(text: &[u8], out: &mut [u8]) -> bool {
    let mut cut = Zeroizing::new([0; 32]);
    let Some(room) = cut.get_mut(..text.len()) else { return false };
    room.copy_from_slice(text);
    let Some((last, _)) = room.split_last_mut() else { return false };
    let Some(value) = BCRYPT.iter().position(|other| other == last) else { return false };
    // 22 characters are 16 bytes and 4 bits, 31 are 23 bytes and 2 bits.
    let spare = (text.len() * 6 - out.len() * 8) as u32;
    *last = BCRYPT[value >> spare << spare];
    base64::decode(BCRYPT, room, out) == Some(out.len())
}

fn sha_crypt(is_512: bool, fields: &[&[u8]]) -> Result<Hash, &'static str> {
    const CUT: &str = "the hash of SHA-crypt is damaged";
    let (rounds, salt, hash) = match *fields {
        [salt, hash] => (ROUNDS_DEFAULT, salt, hash),
        [rounds, salt, hash] => {
            let digits = rounds.strip_prefix(b"rounds=").ok_or(CUT)?;
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(digits).ok().filter(|_| is_number).ok_or(CUT)?;
            let rounds = text.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
            (rounds.ok_or("the rounds of SHA-crypt are not between 1000 and 1000000")?, salt, hash)
        }
        _ => return Err(CUT),
    };
    let mut bytes = [0; SALT_MAX];
    bytes.get_mut(..salt.len()).ok_or(CUT)?.copy_from_slice(salt);
    let salt = Salt { bytes, len: salt.len() as u8 };
    if !hash.iter().all(|byte| CRYPT.contains(byte)) {
        return Err(CUT);
    }
    if is_512 {
        Ok(Hash::Sha512 { rounds, salt, hash: hash.try_into().map_err(|_| CUT)? })
    } else {
        Ok(Hash::Sha256 { rounds, salt, hash: hash.try_into().map_err(|_| CUT)? })
    }
}

/// Writes three bytes, the most significant one first, as characters, the lowest bits first.
fn put(out: &mut [u8], bytes: [u8; 3]) {
    let mut value = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    for character in out {
        *character = CRYPT[(value & 63) as usize];
        value >>= 6;
    }
}

/// Writes a digest in the order in which SHA-crypt has its bytes.
fn encode_sha256(digest: &[u8; 32]) -> [u8; 43] {
    let mut out = [0; 43];
    let (mut a, mut b, mut c) = (0, 10, 20);
    for group in out[..40].chunks_exact_mut(4) {
        put(group, [digest[a], digest[b], digest[c]]);
        (a, b, c) = ((c + 1) % 30, (a + 1) % 30, (b + 1) % 30);
    }
    put(&mut out[40..], [0, digest[31], digest[30]]);
    out
}

/// Writes a digest in the order in which SHA-crypt has its bytes.
fn encode_sha512(digest: &[u8; 64]) -> [u8; 86] {
    let mut out = [0; 86];
    let (mut a, mut b, mut c) = (0, 21, 42);
    for group in out[..84].chunks_exact_mut(4) {
        put(group, [digest[a], digest[b], digest[c]]);
        (a, b, c) = ((b + 1) % 63, (c + 1) % 63, (a + 1) % 63);
    }
    put(&mut out[84..], [0, 0, digest[63]]);
    out
}

#[cfg(test)]
mod tests;
