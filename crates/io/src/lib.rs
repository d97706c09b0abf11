//! sitar-io: completion I/O that cannot be misused.

mod file;
mod region;

pub use file::File;
pub use region::{Region, RegionMut};
