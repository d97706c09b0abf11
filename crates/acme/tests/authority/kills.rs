//! A process that is killed at any step of an order.

use std::fs;

use serde_json::Value;
use sitar_acme::{AccountKey, Command, Plan};
use sitar_tls::Identity;

use crate::common::{DAY, HOUR, Model, START, Steps, World, nothing, sample, wanted};

/// Whether the answer to a new order was lost: its URL is not known then, and the order stays at
/// the authority until it expires.
fn has_lost_an_order(passed: &[String]) -> bool {
    let mut of_orders = passed.iter().rev().skip_while(|name| *name != "request new-order");
    let sent = of_orders.clone().filter(|name| *name == "request new-order").count();
    let behind = passed.iter().rev().take_while(|name| *name != "request new-order");
    let is_saved = behind.filter(|name| *name == "rename").count() >= 2;
    of_orders.next().is_some() && sent >= 2 && !is_saved
}

#[test]
fn an_order_goes_on_after_a_kill_at_any_step() {
    let Some(model) = Model::start() else { return };
    let (every, mut now, mut lost, mut seen) = (sample(), START, 0, 0);
    // Which part of the steps a sample takes differs from day to day.
    let first = if every == 1 { 1 } else { 1 + usize::try_from(std::process::id()).unwrap() % every };
    for step in (first..).step_by(every) {
        // Neither the limits of accounts nor those of a domain are the subject here.
        now += DAY;
        let name = format!("a.d{step}.example");
        let plan = Plan { authorities: vec![model.authority()], certificates: vec![wanted(&[&name])] };
        let folder = tempfile::tempdir().unwrap();
        let steps = Steps::stopping_at(step);
        let mut world = World::new(&model, now, now + 12 * HOUR, steps.clone());
        world.is_over_when_issued = true;
        world.run(folder.path(), &plan);
        let is_done = world.issued.get() > 0;
        let passed = steps.passed.borrow().clone();
        let place = passed.last().cloned().unwrap_or_default();

        let mut again = World::new(&model, world.seconds(), now + 12 * HOUR, Steps::default());
        again.is_over_when_issued = true;
        again.run(folder.path(), &plan);
        assert_eq!(*again.said.borrow(), Vec::<String>::new(), "step {step} ({place})");
        let progress = again.progress.borrow().clone().unwrap();
        assert_eq!(progress.failed, None, "step {step} ({place})");

        // One certificate, and it is the one that is in use, with its key.
        let certificates = model.control("certificates", again.seconds(), &nothing());
        let of_name = |one: &&Value| one["names"].as_array().unwrap().iter().any(|other| *other == *name);
        let issued: Vec<_> = certificates.as_array().unwrap().iter().filter(of_name).collect();
        assert_eq!(issued.len(), 1, "step {step} ({place})");
        let pem = fs::read(folder.path().join(format!("certificates/{name}.pem"))).unwrap();
        assert_eq!(Identity::from_pem(&pem, &pem).unwrap().names(), [&*name]);
        assert!(!folder.path().join(format!("orders/{name}.json")).exists());
        let in_flight = model.control("in_flight_max", again.seconds(), &nothing());
        let in_flight = in_flight.as_object().unwrap().iter().find(|(key, _)| key.contains(&name));
        let in_flight = in_flight.map_or(0, |(_, count)| count.as_u64().unwrap());
        if has_lost_an_order(&passed) {
            assert!(in_flight <= 2);
            lost += 1;
        } else {
            assert_eq!(in_flight, 1, "step {step} ({place})");
        }
        seen += 1;
        if is_done {
            break;
        }
    }
    eprintln!("{seen} steps, {lost} lost orders");
    assert!(seen >= 100 / every, "{seen}");
    assert!(every > 1 || lost >= 1);
    for part in ["faults", "breaches"] {
        assert_eq!(model.control(part, now, &nothing()), Value::Array(vec![]), "{part}");
    }
}

#[test]
fn a_change_of_keys_goes_on_after_a_kill_at_any_step() {
    let Some(model) = Model::start() else { return };
    let (every, mut now) = (sample(), START);
    for step in (1..).step_by(every) {
        now += DAY;
        let name = format!("a.d{step}.example");
        let plan = Plan { authorities: vec![model.authority()], certificates: vec![wanted(&[&name])] };
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(&model, now, now + 12 * HOUR, Steps::default());
        world.is_over_when_issued = true;
        world.run(folder.path(), &plan);
        let key = || {
            let file = fs::read_dir(folder.path().join("accounts")).unwrap().next().unwrap().unwrap().path();
            let account: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            assert_eq!(account["next_key"], Value::Null);
            AccountKey::from_pem(account["key"].as_str().unwrap().as_bytes()).unwrap().thumbprint()
        };
        let before = key();

        let steps = Steps::stopping_at(step);
        let world = World::new(&model, now + HOUR, now + HOUR + 60, steps.clone());
        world.commands.borrow_mut().push_back((now + HOUR + 1, Command::RollOver));
        world.run(folder.path(), &plan);
        let is_done = world.said.borrow().iter().any(|text| text.ends_with(" has a new key"));

        // Whichever key the authority has, it is found.
        let again = World::new(&model, now + 2 * HOUR, now + 3 * HOUR, Steps::default());
        again.commands.borrow_mut().push_back((now + 2 * HOUR + 1, Command::Renew(name.clone())));
        again.run(folder.path(), &plan);
        assert_eq!(*again.said.borrow(), Vec::<String>::new(), "step {step}");
        assert_eq!(again.progress.borrow().clone().unwrap().failed, None, "step {step}");
        assert_eq!(again.issued.get(), 2, "step {step}");
        if is_done {
            assert_ne!(key(), before);
            break;
        }
    }
    assert_eq!(model.control("faults", now, &nothing()), Value::Array(vec![]));
}
