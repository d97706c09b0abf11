//! Ten years of renewals, judged by the model.

use serde_json::{Value, json};
use sitar_acme::Plan;

use crate::common::{DAY, HOUR, Model, START, Steps, World, nothing, sample, wanted};

/// When Let's Encrypt's lifetimes change: 2027-02-10 and 2028-02-16, and an assumption.
const TO_64: u64 = 1_802_217_600;
const TO_45: u64 = 1_834_272_000;
const TO_6: u64 = START + 2500 * DAY;

#[test]
fn ten_years() {
    let Some(model) = Model::start() else { return };
    // In CI the last years only: first those with changes.
    let years = if sample() > 1 { 3 } else { 10 };
    let end = START + years * 365 * DAY;
    let to_6 = if years < 10 { START + 850 * DAY } else { TO_6 };
    let mut schedule = vec![
        json!({ "at": START, "set": { "lifetime": 90 * DAY, "ari_retry_after": DAY } }),
        json!({ "at": TO_64, "set": { "lifetime": 64 * DAY, "authz_lifetime": 10 * DAY } }),
        json!({ "at": TO_45, "set": { "lifetime": 45 * DAY, "authz_lifetime": 7 * HOUR } }),
        json!({ "at": to_6, "set": { "lifetime": 160 * HOUR } }),
    ];
    let mut down = Vec::new();
    for (number, begin) in (START + 20 * DAY..end).step_by(usize::try_from(17 * DAY).unwrap()).enumerate() {
        // Hours, now and then a day.
        let hours = [1, 6, 24, 2][number % 4];
        down.push(json!([begin + 5 * HOUR, begin + 5 * HOUR + hours * HOUR]));
        // The authority has too much to do.
        let problem = json!({
            "endpoint": "new-order", "type": "rateLimited", "detail": "later", "status": 429,
            "retry_after": 3 * HOUR, "count": 2,
        });
        schedule.push(json!({ "at": begin + 3 * DAY, "set": { "problems": [problem] } }));
        if number % 3 == 0 {
            // All are to be renewed, as after a mistake of the authority.
            schedule.push(json!({ "at": begin + 9 * DAY, "set": { "ari_window": "now" } }));
            schedule.push(json!({ "at": begin + 11 * DAY, "set": { "ari_window": null } }));
        }
    }
    schedule.push(json!({ "at": START, "set": { "down": down } }));
    model.control("now", START - 1, &json!({ "schedule": schedule }));

    let plan = Plan {
        authorities: vec![model.authority()],
        certificates: vec![wanted(&["a.example", "www.a.example"])],
    };
    let folder = tempfile::tempdir().unwrap();
    // A restart each half year.
    for begin in (START..end).step_by(usize::try_from(182 * DAY).unwrap()) {
        let world = World::new(&model, begin, (begin + 182 * DAY).min(end), Steps::default());
        world.run(folder.path(), &plan);
        let warned: Vec<_> =
            world.said.borrow().iter().filter(|text| !text.contains("another time")).cloned().collect();
        assert_eq!(warned, Vec::<String>::new());
    }
    let issued = model.control("certificates", end, &nothing()).as_array().unwrap().len();
    eprintln!("{issued} certificates, requests: {}", model.control("requests", end, &nothing()));
    assert!(issued > if years < 10 { 60 } else { 370 }, "{issued}");
    let gaps = model.control("gaps", end, &nothing());
    for name in ["a.example", "www.a.example"] {
        assert_eq!(gaps[name], Value::Array(vec![]), "{name} was expired");
    }
    for part in ["faults", "breaches"] {
        assert_eq!(model.control(part, end, &nothing()), Value::Array(vec![]), "{part}");
    }
}
