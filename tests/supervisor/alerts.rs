//! The alert rules that come with sitar, by the tool of Prometheus. That they name what is shown is
//! tested beside the metrics.

use crate::common::{have, run_with, skip};
use std::path::Path;
use std::process::Command;

#[test]
fn alerts_come_when_they_should_and_not_before() {
    if !have(&["promtool"]) {
        return skip("promtool is not there");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/prometheus");
    for (what, file, expected) in
        [("check", "sitar.rules.yml", "SUCCESS: 11 rules found"), ("test", "sitar.rules.test.yml", "SUCCESS")]
    {
        let mut promtool = Command::new("promtool");
        let checked = run_with(promtool.args([what, "rules", file]).current_dir(&folder), b"").ok();
        assert!(checked.text().contains(expected), "{checked:?}");
    }
}
