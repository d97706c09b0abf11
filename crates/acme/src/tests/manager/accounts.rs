//! Accounts that are asked for, or not.

use super::*;

#[test]
fn what_is_refused_here_is_no_attempt_to_open_an_account() {
    let names = ["a.example", "b.example", "c.example", "d.example", "e.example", "f.example"];
    let after = plan(&names, &["https://ca/dir"]);
    let mut before = after.clone();
    before.authorities[0].agrees = false;
    let (place, folder) = (Place::default(), folder());
    place.run(folder.path(), &before, HOUR);
    for name in names {
        assert_eq!(
            place.failed(name),
            "the authority's terms have not been agreed to: https://ca/terms",
            "{name}"
        );
    }
    assert_eq!(place.asked("POST https://ca/account").len(), 0);
    place.run(folder.path(), &after, 1);
    assert_eq!(place.issued().len(), 6);
}

#[test]
fn an_account_that_is_bound_is_asked_for_when_the_key_is_there() {
    let mut bound = directory();
    bound["meta"]["externalAccountRequired"] = true.into();
    bound.as_object_mut().unwrap().remove("renewalInfo");
    let (place, folder) = (Place::default(), folder());
    place.instead("GET https://ca/dir", (0..30).map(|_| says(200, bound.clone())).collect());
    let before = plan(&["a.example"], &["https://ca/dir"]);
    place.run(folder.path(), &before, 175 * 60);
    let progress = place.progress("a.example");
    assert_eq!(progress.failures, 6);
    assert_eq!(
        progress.failed.as_deref(),
        Some("the authority wants its accounts bound to one of its customers'")
    );
    let mut after = before;
    after.authorities[0].eab = Some(Eab { kid: "kid".to_owned(), key: b"key".to_vec().into() });
    place.run(folder.path(), &after, 1);
    assert_eq!(place.issued().len(), 1);
}

#[test]
fn attempts_by_a_fast_clock_are_counted_once_more() {
    let (fast, folder) = (Place::default(), folder());
    fast.0.borrow_mut().clock = 20 * HOUR;
    fast.instead("POST https://ca/account", (0..5).map(|_| problem(403, "unauthorized", "no")).collect());
    let plan = plan(&["a.example"], &["https://ca/dir"]);
    fast.run(folder.path(), &plan, 2 * HOUR);
    assert_eq!(fast.asked("POST https://ca/account").len(), 5);
    let place = Place::default();
    place.0.borrow_mut().commands.push_back((60, Command::Renew("a.example".to_owned())));
    place.run(folder.path(), &plan, 7 * HOUR);
    assert_eq!(place.issued().len(), 1);
}
