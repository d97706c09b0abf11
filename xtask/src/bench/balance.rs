//! `cargo xtask bench --balance`: how evenly connections fall on shards.
use super::site::Lab;
use super::{Result, Run};
pub(super) fn run(_lab: &Lab, _run: &Run) -> Result<()> {
    Ok(())
}
