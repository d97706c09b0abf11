//! One sample and its rates as a document for programs.

use serde_json::{Value, json};

use super::rates::{Estimate, QUANTILES, Rates, SiteRates};
use crate::admin::Totals;

/// Returns the document. Without rates, `rates` is null: the server was started again meanwhile, or
/// its worker does not answer.
pub(super) fn document(totals: &Totals, rates: Option<&Rates>, warnings: &[String]) -> Value {
    let mut numbers = totals.to_json();
    let mut take = |name: &str| numbers.as_object_mut().and_then(|numbers| numbers.remove(name));
    let (schema, version, pid) = (take("schema"), take("version"), take("pid"));
    json!({
        "schema": schema,
        "version": version,
        "pid": pid,
        "interval_seconds": rates.map(|rates| rounded(rates.seconds)),
        "rates": rates.map(per_second),
        "totals": numbers,
        "warnings": warnings,
    })
}

fn per_second(rates: &Rates) -> Value {
    let [informational, success, redirection, client_errors, server_errors] = rates.classes;
    let quantiles = QUANTILES.iter().enumerate().map(|(place, (name, _))| {
        let quantile = rates.quantiles.and_then(|quantiles| quantiles.get(place).copied());
        ((*name).to_owned(), quantile.map_or(Value::Null, estimate))
    });
    json!({
        "connections": {
            "accepted": rounded(rates.accepted),
            "refused": rounded(rates.refused),
            "shed": rounded(rates.shed),
        },
        "answers": {
            "1xx": rounded(informational),
            "2xx": rounded(success),
            "3xx": rounded(redirection),
            "4xx": rounded(client_errors),
            "5xx": rounded(server_errors),
        },
        "response_bytes": rounded(rates.bytes),
        "durations": Value::Object(quantiles.collect()),
        "tls_handshakes": rounded(rates.handshakes),
        "tls_resumed_share": rates.resumed.map(rounded),
        "io_uring_enters_per_answer": rates.enters.map(rounded),
        "log_records": { "written": rounded(rates.written), "lost": rounded(rates.lost) },
        "sites": rates.sites.iter().map(site).collect::<Vec<_>>(),
    })
}

fn site(site: &SiteRates) -> Value {
    json!({
        "name": site.name,
        "release": site.release,
        "answers": rounded(site.requests),
        "response_bytes": rounded(site.bytes),
        "4xx": rounded(site.client_errors),
        "5xx": rounded(site.server_errors),
    })
}

/// In microseconds. What is above the last bucket has its bound, and says so.
fn estimate(estimate: Estimate) -> Value {
    match estimate {
        Estimate::About(microseconds) => json!({ "about_microseconds": rounded(microseconds) }),
        Estimate::Above(microseconds) => json!({ "above_microseconds": microseconds }),
    }
}

/// Returns a number with three decimals, which is more than it means.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_programs_rely_on() {
        let totals = Totals { version: "0.1.0".into(), pid: 7, ..Totals::default() };
        let rates = Rates {
            seconds: 1.0014,
            accepted: 1.0,
            refused: 2.0,
            shed: 3.0,
            classes: [0.0, 10.0, 1.0, 0.5, 0.25],
            bytes: 1000.0,
            quantiles: Some([Estimate::About(83.21), Estimate::About(900.0), Estimate::Above(1000)]),
            handshakes: 4.0,
            resumed: Some(0.5),
            enters: None,
            written: 12.0,
            lost: 0.0,
            sites: vec![SiteRates {
                name: "a.test".into(),
                release: Some("v1".into()),
                requests: 1.0 / 3.0,
                bytes: 5.0,
                client_errors: 0.0,
                server_errors: 1.0,
            }],
        };
        let document = document(&totals, Some(&rates), &["a warning".to_owned()]);
        let mut expected = json!({
            "schema": 1,
            "version": "0.1.0",
            "pid": 7,
            "interval_seconds": 1.001,
            "rates": {
                "connections": { "accepted": 1.0, "refused": 2.0, "shed": 3.0 },
                "answers": { "1xx": 0.0, "2xx": 10.0, "3xx": 1.0, "4xx": 0.5, "5xx": 0.25 },
                "response_bytes": 1000.0,
                "durations": {
                    "p50": { "about_microseconds": 83.21 },
                    "p95": { "about_microseconds": 900.0 },
                    "p99": { "above_microseconds": 1000 },
                },
                "tls_handshakes": 4.0,
                "tls_resumed_share": 0.5,
                "io_uring_enters_per_answer": null,
                "log_records": { "written": 12.0, "lost": 0.0 },
                "sites": [{
                    "name": "a.test",
                    "release": "v1",
                    "answers": 0.333,
                    "response_bytes": 5.0,
                    "4xx": 0.0,
                    "5xx": 1.0,
                }],
            },
            "warnings": ["a warning"],
        });
        expected["totals"] = document["totals"].clone();
        assert_eq!(document, expected);
        assert_eq!(document["totals"]["uptime_milliseconds"], 0);
        assert_eq!(document["totals"]["schema"], Value::Null);
        let without = super::document(&totals, None, &[]);
        assert_eq!((&without["rates"], &without["interval_seconds"]), (&Value::Null, &Value::Null));
    }
}
