//! The run for programs: `bench/results.json`.

use super::results::{Row, Table, Verdict, verdict};
use crate::cases::{Against, TARGETS};
use crate::participants::SITAR;
use crate::run::{CIPHER, Run};
use crate::stats::Estimate;
use serde_json::{Value, json};

pub(super) fn json(run: &Run, tables: &[Table]) -> String {
    let participants: Vec<Value> = run
        .participants
        .iter()
        .map(|one| json!({ "name": one.name, "version": one.version, "peer": one.is_peer() }))
        .collect();
    let value = json!({
        "command": run.command,
        "date": run.date,
        "machine": run.machine,
        "quick": run.quick,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "cipher": CIPHER,
        "load_average": [run.load_before, run.load_after],
        "participants": participants,
        "absent": run.absent,
        "repeated": *run.repeated.borrow(),
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "bounds": bounds(tables),
    });
    format!("{value:#}\n")
}

fn table(table: &Table) -> Value {
    let ratio = |against| {
        table
            .ratio(SITAR, against)
            .map(|found| json!({ "to": found.to, "ratio": estimate(Some(found.value)) }))
    };
    json!({
        "name": table.name,
        "unit": table.unit,
        "rows": table.rows.iter().map(row).collect::<Vec<_>>(),
        "sitar_to_floor": ratio(Against::Floor),
        "sitar_to_best_peer": ratio(Against::Best),
    })
}

fn row(row: &Row) -> Value {
    let (calls, why) = match &row.calls {
        Some(Ok(calls)) => (Some(*calls), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    json!({
        "name": row.name,
        "rounds": row.figures,
        "median": estimate(Estimate::of(&row.figures)),
        "requests_per_second": row.rates,
        "resident_bytes": row.resident,
        "system_calls_per_request": calls,
        "no_system_calls_because": why,
    })
}

/// Returns `{ median, low, high }` of the 95 % interval.
fn estimate(estimate: Option<Estimate>) -> Option<Value> {
    estimate.map(|Estimate { median, low, high }| json!({ "median": median, "low": low, "high": high }))
}

fn bounds(tables: &[Table]) -> Vec<Value> {
    let one = |target| match verdict(tables, target) {
        Verdict::Measured { value, to, met } => {
            json!({ "table": target.table, "who": target.who, "to": to, "most": target.most, "measured": estimate(Some(value)), "met": met })
        }
        Verdict::Absent(why) => {
            json!({ "table": target.table, "who": target.who, "most": target.most, "absent": why })
        }
    };
    TARGETS.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::table as some_table;

    #[test]
    fn every_figure_is_there() {
        let text = json(&Run { quick: true, ..Run::default() }, &[some_table()]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["quick"], true);
        assert_eq!(value["tables"][0]["rows"][2]["rounds"], json!([10.0, 12.0, 10.0]));
        assert_eq!(value["tables"][0]["sitar_to_best_peer"]["to"], "h2o");
        assert_eq!(value["bounds"].as_array().unwrap().len(), TARGETS.len());
    }
}
