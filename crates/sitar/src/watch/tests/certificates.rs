//! Certificates that are renewed, in the ways in which that is done.

use super::super::certificate::CertificateSource;
use super::*;
use crate::settings::CertificateFiles;
use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair};
use rustix::fs::{Mode, mkfifoat};
use tempfile::TempDir;
use time::OffsetDateTime;

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate for `own.test`, and its key.
#[derive(Clone)]
struct Pair {
    chain: String,
    key: String,
    fingerprint: String,
}

/// Makes a pair that has been valid for 30 days and will be for 60 and a half.
fn pair() -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["own.test".to_owned()]).unwrap();
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - 30 * DAY, now + 60 * DAY + DAY / 2);
    let certificate = params.self_signed(&key).unwrap();
    let fingerprint = crate::identity::fingerprint(certificate.der());
    Pair { chain: certificate.pem(), key: key.serialize_pem(), fingerprint }
}

/// A folder with a pair in it.
struct Place {
    folder: TempDir,
    files: CertificateFiles,
}

impl Place {
    /// `chain` and `key` are the names of the files; `place` puts the pair there.
    fn new(chain: &str, key: &str, place: impl FnOnce(&Path, &Pair)) -> (Place, Pair) {
        let (folder, first) = (TempDir::new().unwrap(), pair());
        place(folder.path(), &first);
        let files = CertificateFiles { chain: folder.path().join(chain), key: folder.path().join(key) };
        (Place { folder, files }, first)
    }

    fn plain() -> (Place, Pair) {
        Place::new("chain.pem", "key.pem", |folder, pair| {
            fs::write(folder.join("chain.pem"), &pair.chain).unwrap();
            fs::write(folder.join("key.pem"), &pair.key).unwrap();
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Returns the next message, except those about half of a renewal: on a slow machine one may stand
/// for long.
fn next_line(said: &Receiver<String>, patience: Duration) -> Option<String> {
    let is_of_half = |line: &String| {
        line.starts_with("error: the certificate of own.test as it is now ")
            || line.contains(" can be read again and is the same as before: ")
    };
    std::iter::from_fn(|| said.recv_timeout(patience).ok()).find(|line| !is_of_half(line))
}

/// Watches a pair, by events and by polls, while `renew` makes others of it. Each that it makes is
/// expected to be served, once and in this order, and nothing else.
fn renewed(make: impl Fn() -> (Place, Pair), renew: impl Fn(&Place, &dyn Fn(&Pair))) {
    for watch in [Watch::Auto, Watch::Poll(Duration::from_millis(50))] {
        let (place, first) = make();
        let mut sources = Sources::new();
        let (id, loaded) = sources.add_certificate(&place.files, watch);
        assert_eq!(loaded.unwrap().report.fingerprint, first.fingerprint);
        let (mut serve, _served, said) = Told::new();
        let (certificates, handed) = channel();
        serve.certificates = certificates;
        while_watched(sources, &serve, |_| {
            renew(&place, &|pair| {
                assert_eq!(handed.recv_timeout(PATIENCE).unwrap(), (id, pair.fingerprint.clone()));
                let line = next_line(&said, PATIENCE).unwrap();
                let begin = "certificate of own.test renewed: expires on ";
                let rest = format!(", in 60 days, SHA-256 {} (", pair.fingerprint);
                assert!(line.starts_with(begin) && line.contains(&rest), "{line}");
            });
        });
        assert_eq!(handed.try_recv().ok(), None, "{watch:?}");
        assert_eq!(next_line(&said, Duration::ZERO), None, "{watch:?}");
    }
}

/// Longer than the watcher waits after an event, or looks twice: half of a renewal is looked at.
fn pause() {
    std::thread::sleep(Duration::from_millis(250));
}

#[test]
fn certbot_points_links_elsewhere() {
    let put = |folder: &Path, number: u32, pair: &Pair| {
        write(folder, &format!("archive/own.test/fullchain{number}.pem"), &pair.chain);
        write(folder, &format!("archive/own.test/privkey{number}.pem"), &pair.key);
    };
    let point = |folder: &Path, name: &str, number: u32| {
        let link = folder.join(format!("live/own.test/{name}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/own.test/{name}{number}.pem"), link).unwrap();
    };
    let make = || {
        Place::new("live/own.test/fullchain.pem", "live/own.test/privkey.pem", |folder, pair| {
            put(folder, 1, pair);
            fs::create_dir_all(folder.join("live/own.test")).unwrap();
            point(folder, "fullchain", 1);
            point(folder, "privkey", 1);
        })
    };
    renewed(make, |place, expect| {
        for (number, names) in [(2, ["privkey", "fullchain"]), (3, ["fullchain", "privkey"])] {
            let next = pair();
            put(place.path(), number, &next);
            point(place.path(), names[0], number);
            pause();
            point(place.path(), names[1], number);
            expect(&next);
        }
    });
}

#[test]
fn files_are_written_in_place_one_after_the_other() {
    renewed(Place::plain, |place, expect| {
        for is_key_first in [false, true] {
            let next = pair();
            let chain = || fs::write(&place.files.chain, &next.chain).unwrap();
            let key = || fs::write(&place.files.key, &next.key).unwrap();
            let (one, other): (&dyn Fn(), &dyn Fn()) =
                if is_key_first { (&key, &chain) } else { (&chain, &key) };
            one();
            pause();
            other();
            expect(&next);
        }
    });
}

#[test]
fn files_are_replaced_by_renaming_others() {
    renewed(Place::plain, |place, expect| {
        for _ in 0..2 {
            let next = pair();
            write(place.path(), "next/chain.pem", &next.chain);
            write(place.path(), "next/key.pem", &next.key);
            fs::rename(place.path().join("next/key.pem"), &place.files.key).unwrap();
            pause();
            fs::rename(place.path().join("next/chain.pem"), &place.files.chain).unwrap();
            expect(&next);
        }
    });
}

#[test]
fn a_mounted_secret_is_one_link_to_a_folder() {
    let put = |folder: &Path, version: &str, pair: &Pair| {
        write(folder, &format!("{version}/tls.crt"), &pair.chain);
        write(folder, &format!("{version}/tls.key"), &pair.key);
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let make = || {
        Place::new("tls.crt", "tls.key", |folder, pair| {
            put(folder, "..2026_11_29", pair);
            symlink("..data/tls.crt", folder.join("tls.crt")).unwrap();
            symlink("..data/tls.key", folder.join("tls.key")).unwrap();
        })
    };
    renewed(make, |place, expect| {
        let mut before = "..2026_11_29".to_owned();
        for number in 0..2 {
            let (next, version) = (pair(), format!("..2026_11_30.{number}"));
            put(place.path(), &version, &next);
            fs::remove_dir_all(place.path().join(&before)).unwrap();
            expect(&next);
            before = version;
        }
    });
}

#[test]
fn chain_and_key_may_lie_in_one_file() {
    let make = || {
        Place::new("both.pem", "both.pem", |folder, pair| {
            fs::write(folder.join("both.pem"), format!("{}{}", pair.key, pair.chain)).unwrap();
        })
    };
    renewed(make, |place, expect| {
        let next = pair();
        let mut file = fs::File::create(&place.files.chain).unwrap();
        file.write_all(next.key.as_bytes()).unwrap();
        pause();
        file.write_all(next.chain.as_bytes()).unwrap();
        drop(file);
        expect(&next);
        let next = pair();
        write(place.path(), "next", &format!("{}{}", next.chain, next.key));
        fs::rename(place.path().join("next"), &place.files.chain).unwrap();
        expect(&next);
    });
}

/// With the key of before, half of a chain belongs to it, too.
#[test]
fn a_chain_that_is_being_written_is_not_served_half() {
    let (place, first) = Place::plain();
    let mut sources = Sources::new();
    let (id, loaded) = sources.add_certificate(&place.files, Watch::Auto);
    assert!(loaded.is_ok());
    let (serve, handed, said) = told();
    while_watched(sources, &serve, |_| {
        let mut file = fs::File::create(&place.files.chain).unwrap();
        file.write_all(first.chain.as_bytes()).unwrap();
        file.write_all(pair().chain.as_bytes()).unwrap();
        pause();
        assert!(handed.try_recv().is_err());
        file.write_all(pair().chain.as_bytes()).unwrap();
        drop(file);
        assert_eq!(handed.recv_timeout(PATIENCE).unwrap(), (id, first.fingerprint.clone()));
        let line = said.recv_timeout(PATIENCE).unwrap();
        assert!(line.starts_with("certificate of own.test has another chain now: "), "{line}");
    });
    assert!(handed.try_recv().is_err(), "once");
}

#[test]
fn a_pair_that_is_gone_for_a_while_comes_back() {
    renewed(Place::plain, |place, expect| {
        let away = place.path().join("away");
        fs::rename(&place.files.key, &away).unwrap();
        pause();
        fs::rename(&away, &place.files.key).unwrap();
        // The same as before is no news.
        pause();
        fs::remove_file(&place.files.key).unwrap();
        fs::remove_file(&place.files.chain).unwrap();
        pause();
        let next = pair();
        fs::write(&place.files.chain, &next.chain).unwrap();
        pause();
        fs::write(&place.files.key, &next.key).unwrap();
        expect(&next);
    });
}

#[test]
fn the_same_pair_again_is_no_news() {
    let (place, first) = Place::plain();
    let (mut source, mut sources) = single(&place, Watch::Auto);
    let (serve, handed, said) = told();
    let mut reload = |source: &mut CertificateSource| source.reload(sources.notify.as_mut(), false, &serve);
    fs::write(&place.files.chain, format!("issued today\n{}", first.chain)).unwrap();
    reload(&mut source);
    assert!(handed.try_recv().is_err() && said.try_recv().is_err());
    // The same certificate with another one behind it is news, and not of a renewal.
    fs::write(&place.files.chain, first.chain.clone() + &pair().chain).unwrap();
    reload(&mut source);
    assert_eq!(handed.try_recv().unwrap().1, first.fingerprint);
    let line = said.try_recv().unwrap();
    assert!(line.starts_with("certificate of own.test has another chain now: "), "{line}");
}

/// Returns a source that has loaded the pair, and the sources that it would be among.
fn single(place: &Place, watch: Watch) -> (CertificateSource, Sources) {
    let mut sources = Sources::new();
    let mut source = sources.certificate(&place.files, watch);
    source.start(sources.notify.as_mut()).unwrap();
    (source, sources)
}

fn told() -> (Told, Receiver<(SourceId, String)>, Receiver<String>) {
    let (mut serve, _, said) = Told::new();
    let (certificates, handed) = channel();
    serve.certificates = certificates;
    (serve, handed, said)
}

#[test]
fn half_a_renewal_changes_nothing_and_is_said_once_when_it_has_stood() {
    let (place, first) = Place::plain();
    let (mut source, mut sources) = single(&place, Watch::Auto);
    let (serve, handed, said) = told();
    let next = pair();
    fs::write(&place.files.chain, &next.chain).unwrap();
    for _ in 0..3 {
        source.reload(sources.notify.as_mut(), false, &serve);
    }
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    source.say_at(later(0), SystemTime::now(), &serve);
    assert!(said.try_recv().is_err(), "it may be complete in a moment");
    source.say_at(later(6), SystemTime::now(), &serve);
    let line = said.try_recv().unwrap();
    let begin = format!(
        "error: the certificate of own.test as it is now cannot be served, the one before still is: cannot use \
         certificate {} with key {}: the private key does not belong to the certificate; ",
        place.files.chain.display(),
        place.files.key.display()
    );
    assert!(line.starts_with(&begin), "{line}");
    assert!(line.ends_with(&format!(", still SHA-256 {})", first.fingerprint)), "{line}");
    source.reload(sources.notify.as_mut(), false, &serve);
    source.say_at(later(60), SystemTime::now(), &serve);
    assert!(said.try_recv().is_err(), "once");
    let failing = || serve.failing.lock().unwrap().is_some();
    assert!(failing());

    // Another reason is said, too.
    fs::write(&place.files.chain, "no certificate").unwrap();
    source.reload(sources.notify.as_mut(), false, &serve);
    source.say_at(later(60), SystemTime::now(), &serve);
    let line = said.try_recv().unwrap();
    assert!(line.contains("there is no certificate in it (no BEGIN CERTIFICATE line)"), "{line}");
    assert!(handed.try_recv().is_err());

    // What is asked for is answered at once.
    source.read_again(sources.notify.as_mut(), &serve);
    assert!(said.try_recv().unwrap().starts_with("error: the certificate of own.test as it is now "));
    fs::write(&place.files.chain, &first.chain).unwrap();
    source.reload(sources.notify.as_mut(), false, &serve);
    let line = said.try_recv().unwrap();
    assert!(
        line.starts_with("certificate of own.test can be read again and is the same as before: "),
        "{line}"
    );
    assert!(!failing());
    source.read_again(sources.notify.as_mut(), &serve);
    let line = said.try_recv().unwrap();
    assert!(line.starts_with("certificate of own.test was read again and is the same as before: "), "{line}");
    assert!(handed.try_recv().is_err());
}

#[test]
fn a_pair_that_cannot_be_used_at_the_start_is_served_when_it_can() {
    let (place, first) = Place::plain();
    fs::remove_file(&place.files.key).unwrap();
    let mut sources = Sources::new();
    let (id, loaded) = sources.add_certificate(&place.files, Watch::Auto);
    assert!(loaded.is_err());
    let (serve, handed, said) = told();
    while_watched(sources, &serve, |_| {
        fs::write(&place.files.key, &first.key).unwrap();
        assert_eq!(handed.recv_timeout(PATIENCE).unwrap(), (id, first.fingerprint.clone()));
        let line = said.recv_timeout(PATIENCE).unwrap();
        assert!(line.starts_with("certificate of own.test can be served now: "), "{line}");
    });
}

#[test]
fn without_watching_certificates_are_read_when_that_is_asked_for() {
    let (place, first) = Place::plain();
    let mut sources = Sources::new();
    let (id, loaded) = sources.add_certificate(&place.files, Watch::Off);
    assert_eq!(loaded.unwrap().report.fingerprint, first.fingerprint);
    assert!(sources.notify.is_none());
    let (serve, handed, said) = told();
    let next = pair();
    while_watched(sources, &serve, |control| {
        fs::write(&place.files.chain, &next.chain).unwrap();
        fs::write(&place.files.key, &next.key).unwrap();
        pause();
        assert!(handed.try_recv().is_err() && said.try_recv().is_err());
        control.read_again();
        assert_eq!(handed.recv_timeout(PATIENCE).unwrap(), (id, next.fingerprint.clone()));
    });
}

#[test]
fn a_fifo_is_read_once_and_not_watched() {
    let (place, first) = Place::plain();
    fs::remove_file(&place.files.key).unwrap();
    mkfifoat(CWD, &place.files.key, Mode::RWXU).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&place.files.key, &first.key).unwrap());
        let (mut source, mut sources) = single(&place, Watch::Auto);
        assert_eq!(source.method().watching(), Watching::Off);
        fs::write(&place.files.chain, "something else").unwrap();
        assert_eq!(sources.notify.as_mut().unwrap().read().len(), 0);
        let (serve, _, said) = told();
        source.read_again(sources.notify.as_mut(), &serve);
        let expected = format!(
            "warning: {} and its key are no files that can be read twice: to serve others, start sitar again",
            place.files.chain.display()
        );
        assert_eq!(said.try_recv().unwrap(), expected);
    });
}

#[test]
fn the_end_is_warned_of_once_a_day_from_two_weeks_before() {
    let (place, _) = Place::plain();
    let (mut source, _sources) = single(&place, Watch::Off);
    let (serve, _, said) = told();
    for (days, expected) in [
        (1, None),
        (46, None),
        (47, Some(", in 13 days; renew it")),
        (48, Some(", in 12 days; renew it")),
        (59, Some(", in 1 day; renew it")),
        (60, Some(", in less than a day; renew it")),
        (61, Some(", and clients refuse it; renew it")),
    ] {
        let time = |hours: u32| DAY * days + Duration::from_secs(3600) * hours;
        source.say_at(Instant::now() + time(1), SystemTime::now() + time(1), &serve);
        let line = said.try_recv().ok();
        assert_eq!(line.is_some(), expected.is_some(), "{days}: {line:?}");
        if let (Some(line), Some(end)) = (line, expected) {
            let begin = format!("warning: the certificate {} expire", place.files.chain.display());
            assert!(line.starts_with(&begin) && line.ends_with(end), "{line}");
        }
        source.say_at(Instant::now() + time(12), SystemTime::now() + time(12), &serve);
        assert!(said.try_recv().is_err(), "once a day");
    }
}

/// A file with two names: what is written by the other one has no event.
#[test]
fn where_the_kernel_does_not_tell_all_certificates_are_looked_at() {
    let (place, _) = Place::plain();
    let other = |name: &str| -> PathBuf { place.path().join(name) };
    fs::create_dir(other("other")).unwrap();
    fs::hard_link(&place.files.chain, other("other/chain")).unwrap();
    fs::hard_link(&place.files.key, other("other/key")).unwrap();
    let mut sources = Sources::new();
    let mut source = sources.certificate(&place.files, Watch::Auto);
    source.method.doubt = Some(Events::of_kind(0x6969));
    source.start(sources.notify.as_mut()).unwrap();
    let why = "NFS does not tell what is changed from elsewhere".to_owned();
    assert_eq!(source.method().watching(), Watching::Both { every: Duration::from_secs(2), why });
    assert!(source.poll_due().is_some());
    let id = sources.push(AnySource::Certificate(Box::new(source)));
    let (serve, handed, said) = told();
    sources.poll(id, &serve);
    assert!(handed.try_recv().is_err() && said.try_recv().is_err(), "nothing has happened");
    // As another machine does it: the events are taken away.
    let next = pair();
    fs::write(other("other/chain"), &next.chain).unwrap();
    sources.notify.as_mut().unwrap().read();
    sources.poll(id, &serve);
    fs::write(other("other/key"), &next.key).unwrap();
    sources.notify.as_mut().unwrap().read();
    sources.poll(id, &serve);
    assert!(handed.try_recv().is_err(), "it may not be finished");
    sources.poll(id, &serve);
    assert_eq!(handed.try_recv().unwrap(), (id, next.fingerprint));
}

/// One instance for all: sites and certificates side by side.
#[test]
fn sites_and_certificates_share_one_instance() {
    let (place, _) = Place::plain();
    let root = place.path().join("site");
    write(&root, "index.html", "x");
    let mut sources = Sources::new();
    let (site, opened) = sources.add_site(&root, &Options::default(), Watch::Auto);
    let (certificate, loaded) = sources.add_certificate(&place.files, Watch::Auto);
    assert!(opened.is_ok() && loaded.is_ok());
    let news = |sources: &mut Sources| {
        let news = sources.notify.as_mut().unwrap().read();
        news.into_keys().map(|owner| (owner.source, owner.part)).collect::<Vec<_>>()
    };
    assert_eq!(news(&mut sources), []);
    write(&root, "index.html", "y");
    assert_eq!(news(&mut sources), [(site, 0)]);
    fs::write(&place.files.chain, "x").unwrap();
    assert_eq!(news(&mut sources), [(certificate, 0)]);
    fs::write(&place.files.key, "x").unwrap();
    assert_eq!(news(&mut sources), [(certificate, 1)]);
    fs::write(place.path().join("other.pem"), "x").unwrap();
    assert_eq!(news(&mut sources), []);
}
