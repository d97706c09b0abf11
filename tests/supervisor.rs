//! Supervisor and worker from outside: an upgrade under load, ends of either of the two, and
//! changes that a worker in its sandbox cannot reach.

mod alerts;
mod changes;
mod clients;
mod crashes;
mod ends;
mod logs;
mod metrics;
mod passed;
mod place;
mod proxies;
mod records;
mod top;
mod trace;
mod unix;
mod upgrades;
