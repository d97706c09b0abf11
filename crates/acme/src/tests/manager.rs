//! The manager against an authority that gives what is asked for, unless a test says otherwise.

mod accounts;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The world of a manager: its outside, and the authorities `https://ca/dir` and `https://cb/dir`.
#[derive(Clone, Default)]
struct Place(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    folder: PathBuf,
    /// What is answered in the place of what is right, by method and URL, one after the other.
    instead: BTreeMap<&'static str, VecDeque<Reply>>,
    /// Requests, by the seconds since the begin, method and URL.
    seen: Vec<(u64, String)>,
    /// Seconds since the begin.
    clock: u64,
    end: u64,
    /// Whether it ends with the first certificate.
    is_over_when_issued: bool,
    /// Commands, and when they come.
    commands: VecDeque<(u64, Command)>,
    /// What an order became.
    status: &'static str,
    issued: Vec<(u64, String)>,
    /// What is said of certificates that are handed over, one after the other.
    not_served: VecDeque<String>,
    said: Vec<String>,
    progress: BTreeMap<String, Progress>,
}

fn authority(directory: &str) -> Authority {
    Authority { directory: directory.to_owned(), roots: None, agrees: true, contact: Vec::new(), eab: None }
}

fn plan(names: &[&str], authorities: &[&str]) -> Plan {
    Plan {
        authorities: authorities.iter().map(|directory| authority(directory)).collect(),
        certificates: names.iter().map(|name| wanted(&[name], &[ChallengeKind::Http01])).collect(),
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

impl Place {
    /// Runs a manager in that folder for a while.
    fn run(&self, folder: &Path, plan: &Plan, seconds: u64) {
        {
            let mut state = self.0.borrow_mut();
            state.folder = folder.to_owned();
            state.end = state.clock + seconds;
        }
        let store = Store::open(fs::File::open(folder).unwrap().as_fd()).unwrap();
        let mut connect = |_: &Authority| Ok(Box::new(self.clone()) as Box<dyn Transport>);
        crate::run(store, plan.clone(), &mut connect, &mut self.clone()).unwrap();
    }

    fn instead(&self, what: &'static str, replies: Vec<Reply>) {
        self.0.borrow_mut().instead.entry(what).or_default().extend(replies);
    }

    /// Returns when something was asked for.
    fn asked(&self, what: &str) -> Vec<u64> {
        let state = self.0.borrow();
        state.seen.iter().filter(|(_, seen)| seen == what).map(|(at, _)| *at).collect()
    }

    fn issued(&self) -> Vec<(u64, String)> {
        self.0.borrow().issued.clone()
    }

    fn progress(&self, name: &str) -> Progress {
        self.0.borrow().progress[name].clone()
    }

    fn failed(&self, name: &str) -> String {
        self.progress(name).failed.unwrap_or_default()
    }
}

impl State {
    /// Returns the only order on disk that an order of the authority can be about.
    fn order(&self) -> Value {
        let files = fs::read_dir(self.folder.join("orders")).unwrap().map(|entry| entry.unwrap().path());
        let orders = files.map(|path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap());
        orders.last().unwrap()
    }

    fn chain(&self, make: impl Fn(&KeyPair, &[&str]) -> Vec<u8>) -> Response {
        let order = self.order();
        let key = KeyPair::from_pem(order["key"].as_str().unwrap()).unwrap();
        let names = order["asked"]["identifiers"].as_array().unwrap();
        let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
        Response { status: 200, fields: Vec::new(), body: make(&key, &names) }
    }

    fn answer(&mut self, what: &str) -> Result<Response, Failure> {
        match self.instead.get_mut(what).and_then(VecDeque::pop_front) {
            Some(Reply::Says(response)) => return Ok(response),
            Some(Reply::Chain(make) | Reply::ChainWithLink(make, _)) => {
                return Ok(self.chain(|key, _| make(key)));
            }
            Some(Reply::Fails(failure)) => return Err(failure),
            None => {}
        }
        let (start, path) = what.split_at(what.find("//").unwrap() + 4);
        let of = |body: Value| body.to_string().replace("https://ca", start.split_once(' ').unwrap().1);
        let of = |body: Value| serde_json::from_str::<Value>(&of(body)).unwrap();
        let location = |path: &str| [start.split_once(' ').unwrap().1, path].concat();
        Ok(match path {
            "/dir" => {
                let mut directory = directory();
                directory.as_object_mut().unwrap().remove("renewalInfo");
                response(200, of(directory), &[])
            }
            "/nonce" => response(200, Value::Null, &[]),
            "/account" => response(201, json!({}), &[("location", &location("/acct"))]),
            "/order" => {
                self.status = "ready";
                response(201, of(order("ready")), &[("location", &location("/order/1"))])
            }
            "/finalize" => {
                self.status = "valid";
                response(200, of(order("valid")), &[])
            }
            "/order/1" => response(200, of(order(self.status)), &[]),
            "/cert" => self.chain(|key, names| chain(key, names, "root", (-1, 89), false)),
            "/acct" | "/revoke" => response(200, Value::Null, &[]),
            other => panic!("{other} is not expected"),
        })
    }
}

impl Transport for Place {
    fn request(&mut self, method: Method, url: &str, _: Option<(&str, &[u8])>) -> Result<Response, Failure> {
        let mut state = self.0.borrow_mut();
        let what = format!("{} {url}", ["GET", "HEAD", "POST"][method as usize]);
        let at = state.clock;
        state.seen.push((at, what.clone()));
        let mut response = state.answer(&what)?;
        response.fields.push(("replay-nonce".to_owned(), "bm9uY2U".to_owned()));
        Ok(response)
    }
}

impl Outside for Place {
    fn now(&self) -> SystemTime {
        at(NOW + self.0.borrow().clock)
    }

    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command> {
        if self.is_ending() {
            return Some(Command::End);
        }
        let until = until.unwrap().duration_since(at(NOW)).unwrap().as_secs();
        let mut state = self.0.borrow_mut();
        if let Some((when, _)) = state.commands.front().filter(|(when, _)| *when <= until.min(state.end)) {
            state.clock = state.clock.max(*when);
            return state.commands.pop_front().map(|(_, command)| command);
        }
        state.clock = state.clock.max(until.min(state.end));
        None
    }

    fn answer(&mut self, _: &[Pending]) -> Result<(), String> {
        Ok(())
    }

    fn change_dns(&mut self, _: DnsChange, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn issued(&mut self, name: &str) -> Result<(), String> {
        let mut state = self.0.borrow_mut();
        if let Some(why) = state.not_served.pop_front() {
            return Err(why);
        }
        let now = state.clock;
        state.issued.push((now, name.to_owned()));
        if state.is_over_when_issued {
            state.end = now;
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.0.borrow_mut().progress.insert(progress.name.clone(), progress.clone());
    }

    fn say(&mut self, _: Level, text: &str) {
        self.0.borrow_mut().said.push(text.to_owned());
    }

    fn is_ending(&mut self) -> bool {
        let state = self.0.borrow();
        state.clock >= state.end
    }
}

#[test]
fn a_certificate_of_the_future_is_waited_for() {
    let (place, folder) = (Place::default(), folder());
    let future = |key: &KeyPair| chain(key, &["a.example"], "root", (1, 90), false);
    place.instead("POST https://ca/cert", vec![Reply::Chain(future), Reply::Chain(future)]);
    place.0.borrow_mut().is_over_when_issued = true;
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), DAY);
    assert_eq!(place.issued().len(), 1);
    assert_eq!(place.asked("POST https://ca/cert").len(), 3);
    // It is the one that was ordered first.
    assert_eq!(place.asked("POST https://ca/order").len(), 1);
    assert_eq!(place.asked("POST https://ca/finalize").len(), 1);
}

#[test]
fn back_off_ends_with_another_wish() {
    let before = plan(&["a.example"], &["https://ca/dir"]);
    let with_key = |key: &[u8]| {
        let mut plan = before.clone();
        plan.authorities[0].eab = Some(Eab { kid: "kid".to_owned(), key: key.to_vec().into() });
        plan
    };
    let mut names = before.clone();
    names.certificates[0].identifiers.push(Identifier::parse("b.example").unwrap());
    let mut challenges = before.clone();
    challenges.certificates[0].challenges = vec![ChallengeKind::Dns01];
    let mut contact = before.clone();
    contact.authorities[0].contact = vec!["mailto:a@b.example".to_owned()];
    for (before, after, is_other) in [
        (&before, &before, false),
        (&before, &names, true),
        (&before, &challenges, true),
        (&before, &contact, true),
        (&before, &with_key(b"wrong"), true),
        (&with_key(b"wrong"), &with_key(b"right"), true),
    ] {
        let (place, folder) = (Place::default(), folder());
        let refused = (0..8).map(|_| problem(403, "rejectedIdentifier", "no")).collect();
        place.instead("POST https://ca/order", refused);
        place.run(folder.path(), before, 11 * HOUR);
        assert_eq!(place.progress("a.example").failures, 8);
        place.0.borrow_mut().instead.clear();
        // As after a reload, or as a command.
        place.run(folder.path(), after, 5 * HOUR);
        assert_eq!(place.issued().len(), usize::from(is_other), "{after:?}");
    }
}

#[test]
fn a_plan_that_comes_meanwhile_ends_back_off() {
    let (place, folder) = (Place::default(), folder());
    let refused = (0..8).map(|_| problem(403, "rejectedIdentifier", "no")).collect();
    place.instead("POST https://ca/order", refused);
    let before = plan(&["a.example"], &["https://ca/dir"]);
    let mut after = before.clone();
    after.authorities[0].contact = vec!["mailto:a@b.example".to_owned()];
    let commands = [(11 * HOUR, Command::Plan(before.clone())), (12 * HOUR, Command::Plan(after))];
    place.0.borrow_mut().commands.extend(commands);
    place.run(folder.path(), &before, 13 * HOUR);
    assert_eq!(place.issued(), [(12 * HOUR, "a.example".to_owned())]);
}

#[test]
fn why_a_certificate_is_not_revoked_is_told() {
    let (place, folder) = (Place::default(), folder());
    let revoke = || Command::Revoke { name: "a.example".to_owned(), reason: 1 };
    place.instead("POST https://ca/revoke", vec![problem(403, "unauthorized", "not yours")]);
    place.0.borrow_mut().commands.push_back((HOUR, revoke()));
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 2 * HOUR);
    let what = "the certificate of a.example is not revoked: the authority says that this account may not do \
                this (the authority: not yours)";
    let progress = place.progress("a.example");
    assert_eq!(progress.failed.as_deref(), Some(what));
    assert_eq!(progress.hint.as_deref(), Some("then again: sitar cert revoke a.example"));
    assert_eq!((progress.failures, progress.stage), (0, Stage::Resting));
    // It is known after a restart, and over with the next certificate.
    place.0.borrow_mut().commands.push_back((3 * HOUR, revoke()));
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), HOUR / 2);
    assert_eq!(place.failed("a.example"), what);
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), HOUR);
    assert_eq!(place.progress("a.example").failed, None);
    assert_eq!(place.asked("POST https://ca/finalize"), [0, 3 * HOUR]);

    // Where there is none, why there is none is what counts.
    let (place, folder) = (Place::default(), self::folder());
    place.instead("POST https://ca/order", (0..9).map(|_| problem(403, "caa", "no")).collect());
    place.0.borrow_mut().commands.push_back((60, revoke()));
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 120);
    assert_eq!(
        place.failed("a.example"),
        "a CAA record of a name forbids this authority (the authority: no)"
    );
    assert!(place.0.borrow().said.contains(&"no certificate of a.example is there to be revoked".to_owned()));
}

#[test]
fn an_authority_that_is_missed_once_is_waited_for() {
    let names = ["a.example", "b.example", "c.example", "d.example"];
    let plan = plan(&names, &["https://ca/dir", "https://cb/dir"]);
    let away = || Reply::Fails(Failure::new(Kind::Unreachable, "away"));
    for (missed, of_first, of_second) in [(1, 4, 0), (2, 4, 0), (9, 0, 4)] {
        let (place, folder) = (Place::default(), folder());
        place.instead("GET https://ca/dir", (0..missed).map(|_| away()).collect());
        place.run(folder.path(), &plan, HOUR);
        let counts =
            ["POST https://ca/finalize", "POST https://cb/finalize"].map(|what| place.asked(what).len());
        assert_eq!(counts, [of_first, of_second], "{missed}");
    }
}

#[test]
fn the_limit_of_a_domain_binds_no_authority_of_ones_own() {
    let names: Vec<String> = (0..43).map(|number| format!("s{number}.corp.internal")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut plan = plan(&names, &["https://ca/dir"]);
    let (place, folder) = (Place::default(), folder());
    place.run(folder.path(), &plan, HOUR);
    assert_eq!(place.issued().len(), 40);
    plan.authorities[0].roots = Some(b"the root".to_vec());
    let (place, folder) = (Place::default(), self::folder());
    place.run(folder.path(), &plan, HOUR);
    assert_eq!(place.issued().len(), 43);
}

#[test]
fn an_order_that_gives_no_certificate_is_given_up() {
    // Its certificate is not kept any more.
    let (place, folder) = (Place::default(), folder());
    place.instead("POST https://ca/cert", vec![says(404, Value::Null), says(404, Value::Null)]);
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 3 * HOUR);
    assert_eq!(place.issued().len(), 1);
    // It is asked for once more before another one is ordered.
    let counts = ["POST https://ca/cert", "POST https://ca/order"].map(|what| place.asked(what).len());
    assert_eq!(counts, [3, 2]);

    // The authority does not come to an end, and the order expires after a day.
    let (place, folder) = (Place::default(), self::folder());
    let mut ends = order("processing");
    ends["expires"] = "2026-12-02T00:00:00Z".into();
    let processing = || says_with(200, ends.clone(), &[("retry-after", "300")]);
    place.instead("POST https://ca/finalize", vec![processing()]);
    place.instead("POST https://ca/order/1", (0..500).map(|_| processing()).collect());
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 26 * HOUR);
    let again = place.asked("POST https://ca/finalize")[1..].to_vec();
    assert!(again.len() == 1 && again[0] > DAY && again[0] < 26 * HOUR, "{again:?}");
}

#[test]
fn a_certificate_that_is_not_given_for_now_is_waited_for() {
    let (place, folder) = (Place::default(), folder());
    let limited = || problem(429, "rateLimited", "later");
    let replies = vec![limited(), says(500, Value::Null), limited(), limited()];
    place.instead("POST https://ca/cert", replies);
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), DAY);
    assert_eq!(place.issued().len(), 1);
    assert_eq!(place.asked("POST https://ca/order").len(), 1);
}

#[test]
fn a_refused_certificate_is_not_counted() {
    let issued = |folder: &Path| {
        let record = fs::read(folder.join("certificates/a.example.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let events = record["events"].as_array().unwrap().iter();
        events.filter(|event| event[1] == "issued").count()
    };
    // At once, and after a while.
    let mut invalid = order("invalid");
    invalid["error"] = json!({ "type": "urn:ietf:params:acme:error:caa", "detail": "no" });
    for is_later in [false, true] {
        let (place, folder) = (Place::default(), folder());
        for _ in 0..7 {
            if is_later {
                place.instead("POST https://ca/finalize", vec![says(200, order("processing"))]);
                // As it is looked at again by the next attempt, too.
                let both = vec![says(200, invalid.clone()), says(200, invalid.clone())];
                place.instead("POST https://ca/order/1", both);
            } else {
                place.instead("POST https://ca/finalize", vec![problem(403, "caa", "no")]);
                place.instead("POST https://ca/order/1", vec![says(200, invalid.clone())]);
            }
        }
        let plan = plan(&["a.example"], &["https://ca/dir"]);
        place.run(folder.path(), &plan, 4 * HOUR);
        assert_eq!(issued(folder.path()), 0);
        assert_eq!(
            place.failed("a.example"),
            "a CAA record of a name forbids this authority (the authority: no)"
        );
        place.0.borrow_mut().instead.clear();
        place.run(folder.path(), &plan, 8 * HOUR);
        assert_eq!((place.issued().len(), issued(folder.path())), (1, 1));
    }
    // What an authority with a fault of its own has done is not known.
    let (place, folder) = (Place::default(), folder());
    place.instead("POST https://ca/finalize", vec![says(500, Value::Null)]);
    place.instead("POST https://ca/order/1", (0..9).map(|_| says(500, Value::Null)).collect());
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 60);
    assert_eq!(issued(folder.path()), 1);
}

#[test]
fn an_order_that_comes_to_nothing_is_followed_by_no_other_one_before_its_time() {
    let (place, folder) = (Place::default(), folder());
    // Its clock is wrong: each order has expired when it is looked at.
    let mut expired = order("processing");
    expired["expires"] = "2026-11-30T00:00:00Z".into();
    let replies = || (0..2000).map(|_| says_with(200, expired.clone(), &[("retry-after", "300")])).collect();
    place.instead("POST https://ca/finalize", replies());
    place.instead("POST https://ca/order/1", replies());
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), DAY);
    assert_eq!(place.asked("POST https://ca/finalize").len(), 5);
    let said = "the order before has come to nothing, and limits allow no other one yet";
    assert_eq!(place.failed("a.example"), said);
}

#[test]
fn a_certificate_is_offered_again_until_it_is_served() {
    let (place, folder) = (Place::default(), folder());
    place.0.borrow_mut().not_served = (0..3).map(|_| "the worker has ended".to_owned()).collect();
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), HOUR);
    let issued = place.issued();
    assert!(issued.len() == 1 && issued[0].0 == 420, "{issued:?}");
    let said = "the certificate of a.example is not served: the worker has ended";
    assert_eq!(place.0.borrow().said, [said]);
    // One that cannot be served is renewed all the same, and offered at most each hour.
    place.0.borrow_mut().not_served = (0..5000).map(|_| "nothing wants it".to_owned()).collect();
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 70 * DAY);
    assert!(place.asked("POST https://ca/finalize").len() > 1);
    let left = place.0.borrow().not_served.len();
    assert!((3200..3400).contains(&left), "{left}");
}

#[test]
fn what_takes_the_place_of_a_revoked_one_is_urgent() {
    let (place, folder) = (Place::default(), folder());
    let revoke = |at| (at, Command::Revoke { name: "a.example".to_owned(), reason: 1 });
    place.0.borrow_mut().commands.extend((1..5).map(|hour| revoke(hour * HOUR)));
    place.run(folder.path(), &plan(&["a.example"], &["https://ca/dir"]), 6 * HOUR);
    // The fifth of this week, which a certificate with time left may not use.
    assert_eq!(place.asked("POST https://ca/finalize"), [0, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]);
}
