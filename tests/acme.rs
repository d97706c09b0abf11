//! Certificates from authorities: pebble, and a model that can be slow, down, broken and hostile.

mod challenges;
mod domain;
mod failures;
mod issue;
mod model;
mod others;
mod pebble;
mod place;
