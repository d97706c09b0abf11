use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::identifier::Identifier;
use crate::plan::{ChallengeKind, Eab, KeyType};
use crate::schedule::{Event, EventKind, Window};

const NOW: u64 = 1_800_000_000;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(fs::File::open(folder).unwrap().as_fd())
}

fn record() -> Record {
    let dns = Identifier::parse("a.example").unwrap();
    Record {
        authority: Some("https://ca.example/dir".into()),
        asked: Some(Asked {
            identifiers: vec![dns.clone(), Identifier::parse("2001:db8::1").unwrap()],
            key: KeyType::Rsa2048,
            profile: Some("shortlived".into()),
        }),
        window: Some(("0a".into(), Window { start: 5, end: 7 })),
        ask_at: Some(9),
        events: vec![Event {
            at: 3,
            kind: EventKind::Invalid,
            authority: "https://ca.example/dir".into(),
            set: u64::MAX,
        }],
        failures: 2,
        retry_at: Some(11),
        tried: Some(u64::MAX - 1),
        bans: vec![("https://ca.example/dir".into(), 12)],
        failed: Some("\"quoted\" and\nmore".into()),
        hint: None,
        avoid: vec![(dns, ChallengeKind::TlsAlpn01)],
    }
}

fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    (pair.signing_key.serialize_pem(), pair.cert.pem())
}

fn names(folder: &Path, room: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(room)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_stored_is_there_for_the_next_process() {
    let folder = folder();
    let authority = |kid: Option<&str>| Authority {
        directory: "https://ca.example:14000/dir".into(),
        roots: None,
        agrees: true,
        contact: vec![],
        eab: kid.map(|kid| Eab { kid: kid.into(), key: Zeroizing::new(vec![1]) }),
    };
    let account = |kid: Option<&str>| Account {
        authority: "https://ca.example:14000/dir".into(),
        kid: kid.map(str::to_owned),
        key: Zeroizing::new("key".into()),
        next_key: Some(Zeroizing::new("next".into())),
        url: Some("https://ca.example/1".into()),
        contact: vec!["mailto:a@b.example".into()],
        attempts: vec![1, 2],
    };
    let order = Order {
        authority: "https://ca.example/dir".into(),
        kid: None,
        url: "https://ca.example/order/1".into(),
        key: Zeroizing::new("key".into()),
        is_finalized: true,
        asked: record().asked.unwrap(),
    };
    let (key, chain) = pair();
    let store = open(folder.path()).unwrap();
    store.save_record("a.example", &record()).unwrap();
    store.save_account(&account(None)).unwrap();
    store.save_account(&account(Some("kid-1"))).unwrap();
    store.save_order("a.example", &order).unwrap();
    store.save_pair("a.example", &key, &chain).unwrap();
    drop(store);

    let mut store = open(folder.path()).unwrap();
    assert_eq!(store.names().unwrap(), ["a.example"]);
    assert_eq!(store.record("a.example", NOW).unwrap(), Some(record()));
    for kid in [None, Some("kid-1")] {
        assert!(store.account(&authority(kid), NOW).unwrap() == Some(account(kid)));
    }
    assert!(store.account(&authority(Some("kid-2")), NOW).unwrap().is_none());
    assert!(store.order("a.example", NOW).unwrap() == Some(order));
    let Pair { identity, content } = store.pair("a.example", NOW).unwrap().unwrap();
    assert_eq!(identity.names(), ["a.example"]);
    assert_eq!(content.as_slice(), format!("{key}{chain}").as_bytes());
    store.remove_order("a.example").unwrap();
    store.remove_order("a.example").unwrap();
    assert!(store.order("a.example", NOW).unwrap().is_none());
    assert_eq!(store.take_said(), Vec::<String>::new());
    // Nothing of it is readable by others.
    for (path, mode) in [
        ("lock", 0o600),
        ("certificates", 0o700),
        ("certificates/a.example.pem", 0o600),
        ("certificates/a.example.json", 0o600),
        ("accounts", 0o700),
        ("orders", 0o700),
    ] {
        let found = fs::symlink_metadata(folder.path().join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
    assert!(names(folder.path(), "accounts").iter().all(|name| name.starts_with("ca.example_")));
}

#[test]
fn one_process_at_a_time() {
    let folder = folder();
    let first = open(folder.path()).unwrap();
    let second = open(folder.path()).unwrap_err().to_string();
    assert_eq!(second, "the state folder is in use by another process");
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_others_write_to_is_refused() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert_eq!(refused, "the state folder is another user's, or others can write to it");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(folder.path()).unwrap());
    fs::set_permissions(folder.path().join("orders"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert_eq!(refused, "orders is another user's, or others can write to it");
    // A link in the place of a folder is not followed.
    fs::remove_dir(folder.path().join("orders")).unwrap();
    symlink("/tmp", folder.path().join("orders")).unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert!(refused.starts_with("orders in the state folder cannot be used: "), "{refused}");
}

#[test]
fn a_file_cut_at_any_byte_is_set_aside() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    store.save_record("a.example", &record()).unwrap();
    let path = folder.path().join("certificates/a.example.json");
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(store.record("a.example", NOW).unwrap(), None, "{len}");
        assert!(!path.exists());
        assert_eq!(store.take_said().len(), 1);
    }
    // The newest ones are kept, whatever the clock says.
    assert_eq!(names(folder.path(), "certificates").len(), 4);
    let newest = format!("certificates/a.example.json.damaged-0{}", NOW + 3);
    assert!(fs::read(folder.path().join(newest)).is_ok());
}

#[test]
fn a_flipped_byte_is_no_panic() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    let (key, chain) = pair();
    store.save_record("a.example", &record()).unwrap();
    store.save_pair("a.example", &key, &chain).unwrap();
    for file in ["certificates/a.example.json", "certificates/a.example.pem"] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        // Each check of a pair takes a while.
        for place in (0..whole.len()).step_by(if file.ends_with("pem") { 7 } else { 1 }) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x04;
            fs::write(&path, &bytes).unwrap();
            let _record = store.record("a.example", NOW).unwrap_or_default();
            // What is used is a pair that belongs together.
            if let Some(Pair { identity, .. }) = store.pair("a.example", NOW).unwrap() {
                assert!(identity.validity().is_some() || !identity.certificate().is_empty());
            }
        }
    }
}

#[test]
fn wrong_members_are_named() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    let path = folder.path().join("certificates/a.example.json");
    let long = format!(r#"{{"version":1,"failures":0,"failed":"{}"}}"#, "x".repeat(4097));
    for (text, why) in [
        ("[]", "\"the file\" in it is wrong"),
        ("{}", "\"version\" in it is wrong"),
        (r#"{"version":0,"failures":0}"#, "\"version\" in it is wrong"),
        (r#"{"version":1}"#, "\"failures\" in it is wrong"),
        (r#"{"version":1,"failures":-1}"#, "\"failures\" in it is wrong"),
        (r#"{"version":1,"failures":4294967296}"#, "\"failures\" in it is wrong"),
        (r#"{"version":1,"failures":0,"authority":7}"#, "\"authority\" in it is wrong"),
        (r#"{"version":1,"failures":0,"retry_at":"x"}"#, "\"retry_at\" in it is wrong"),
        (r#"{"version":1,"failures":0,"events":[[1,"no","a",2]]}"#, "\"events\" in it is wrong"),
        (r#"{"version":1,"failures":0,"bans":[["a"]]}"#, "\"bans\" in it is wrong"),
        (r#"{"version":1,"failures":0,"avoid":[["../x","http-01"]]}"#, "\"identifiers\" in it is wrong"),
        (r#"{"version":1,"failures":0,"window":{"start":1,"end":2}}"#, "\"serial\" in it is wrong"),
        (r#"{"version":1,"failures":0,"asked":{"identifiers":[],"key":"x"}}"#, "\"key\" in it is wrong"),
        (&long, "\"failed\" in it is wrong"),
        ("\u{feff}{}", "it is not JSON"),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(store.record("a.example", NOW).unwrap(), None, "{text}");
        let said = store.take_said().concat();
        let start =
            format!("certificates/a.example.json in the state folder is not used: {why}. It is called ");
        assert!(said.starts_with(&start), "{said}");
    }
    // What is unknown in it is of no account.
    fs::write(&path, r#"{"version":1,"failures":3,"more":[{}]}"#).unwrap();
    assert_eq!(store.record("a.example", NOW).unwrap().unwrap().failures, 3);
}

#[test]
fn a_later_version_is_left_alone() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    let path = folder.path().join("certificates/a.example.json");
    fs::write(&path, r#"{"version":2}"#).unwrap();
    let error = store.record("a.example", NOW).unwrap_err().to_string();
    let expected = "certificates/a.example.json in the state folder was written by a later version of sitar";
    assert_eq!(error, expected);
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version":2}"#);
}

#[test]
fn what_others_may_have_made_is_not_read() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    let (key, chain) = pair();
    let path = folder.path().join("certificates/a.example.pem");
    let good = format!("{key}{chain}");
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, &good).unwrap();
    let mut check = |make: &dyn Fn(), why: &str| {
        make();
        assert!(store.pair("a.example", NOW).unwrap().is_none(), "{why}");
        let said = store.take_said().concat();
        assert!(said.contains(&format!("is not used: {why}. It is called ")), "{said}");
        assert!(fs::symlink_metadata(&path).is_err());
    };
    check(&|| symlink(&elsewhere, &path).unwrap(), "it is a symbolic link");
    check(&|| fs::create_dir(&path).unwrap(), "it is no regular file");
    check(
        &|| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .unwrap();
        },
        "it is no regular file",
    );
    check(&|| fs::write(&path, vec![b'x'; 256 * 1024 + 1]).unwrap(), "it is larger than 256 KiB");
    let writable = || {
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    };
    check(&writable, "others may have written it");
    // One that belongs to another key.
    let other = pair();
    check(
        &|| fs::write(&path, format!("{}{chain}", other.0)).unwrap(),
        "the private key does not belong to the certificate",
    );

    // One that others can read is closed to them.
    fs::write(&path, &good).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.pair("a.example", NOW).unwrap().is_some());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn names_lead_nowhere_else() {
    let folder = folder();
    let mut store = open(folder.path()).unwrap();
    for name in ["", ".", "..", "../lock", "a/b", ".hidden", "a b", "a\0b", "\u{e4}.example"] {
        assert!(store.record(name, NOW).is_err(), "{name}");
        assert!(store.save_record(name, &record()).is_err(), "{name}");
        assert!(store.save_pair(name, "k", "c").is_err(), "{name}");
    }
    for directory in
        ["", "x", "https://../../x", "https://.hidden/", "https://a\0b/", &"https://a".repeat(99)]
    {
        let name = account_name(directory, None);
        assert!(file_name(&name, ".json").is_ok(), "{name}");
    }
    assert_ne!(account_name("https://a.example/", None), account_name("https://a.example/", Some("")));
}

/// Stops everything at a step, as `kill -9` does.
fn stopping_at(step: usize, passed: &Rc<Cell<usize>>) -> Option<Gate> {
    let passed = Rc::clone(passed);
    Some(Box::new(move |_| {
        passed.set(passed.get() + 1);
        if passed.get() > step { Err(io::Error::other("stopped")) } else { Ok(()) }
    }))
}

#[test]
fn a_file_is_old_or_new_after_a_stop_at_any_step() {
    let later = Record { failures: 9, ..record() };
    let mut seen = [0; 2];
    for step in 0.. {
        let folder = folder();
        open(folder.path()).unwrap().save_record("a.example", &record()).unwrap();
        let passed = Rc::new(Cell::new(0));
        let result =
            Store::open_with(fs::File::open(folder.path()).unwrap().as_fd(), stopping_at(step, &passed))
                .and_then(|store| store.save_record("a.example", &later));
        let mut store = open(folder.path()).unwrap();
        let found = store.record("a.example", NOW).unwrap().unwrap();
        assert_eq!(store.take_said(), Vec::<String>::new());
        assert_eq!(names(folder.path(), "certificates"), ["a.example.json"], "a leftover at {step}");
        assert!(found == record() || found == later);
        seen[usize::from(found == later)] += 1;
        if result.is_ok() {
            assert_eq!(found, later);
            break;
        }
    }
    assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
}

#[test]
fn a_full_disk_is_said_and_changes_nothing() {
    let folder = folder();
    let full = Rc::new(Cell::new(false));
    let gate: Gate = {
        let full = Rc::clone(&full);
        Box::new(move |operation| {
            let is_hit = full.get() && matches!(operation, "write" | "create");
            if is_hit { Err(rustix::io::Errno::NOSPC.into()) } else { Ok(()) }
        })
    };
    let mut store = Store::open_with(fs::File::open(folder.path()).unwrap().as_fd(), Some(gate)).unwrap();
    store.save_record("a.example", &record()).unwrap();
    full.set(true);
    let error = store.save_record("a.example", &Record::default()).unwrap_err().to_string();
    let start = "certificates/a.example.json in the state folder cannot be written: No space left on device";
    assert!(error.starts_with(start), "{error}");
    assert_eq!(store.record("a.example", NOW).unwrap(), Some(record()));
    assert_eq!(names(folder.path(), "certificates"), ["a.example.json"]);
    full.set(false);
    store.save_record("a.example", &Record::default()).unwrap();
    assert_eq!(store.record("a.example", NOW).unwrap(), Some(Record::default()));
}

#[test]
fn what_is_not_ours_keeps_nothing_from_beginning() {
    let folder = folder();
    drop(open(folder.path()).unwrap());
    let at = |name: &str| folder.path().join("certificates").join(name);
    for name in [".git", ".b.example.pem"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in [".note", ".a.example.pem", ".a.example.json", "a.example.pem.old"] {
        fs::write(at(name), "x").unwrap();
    }
    drop(open(folder.path()).unwrap());
    assert_eq!(
        names(folder.path(), "certificates"),
        [".b.example.pem", ".git", ".note", "a.example.pem.old"]
    );
}
