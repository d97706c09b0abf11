//! The process that orders certificates: the only one that speaks with anything outside on sitar's
//! own account.
//!
//! The supervisor starts the same program with the same arguments, and a variable that says so, as
//! it starts a worker. Standard input is the line to it. The first message brings what is wanted
//! and an open folder, in which it keeps accounts, orders and certificates. It enters a sandbox in
//! which it can write to that folder, resolve names and connect out, and reach nothing else. What
//! an authority says is read here and nowhere else: the supervisor takes certificates from the
//! folder, and checks them. When the line ends, the process ends; another one goes on where it was.

mod folder;
mod job;
mod outside;
pub(crate) mod told;

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use self::outside::World;
use crate::channel::{Limits, Line, Question};
use crate::error::Error;
use crate::events;
use crate::handover::not_understood;
use crate::sandbox::{self, Reach};
use crate::worker;

pub(crate) use self::folder::Folder;
pub(crate) use self::job::Job;

/// The name under which it runs (`argv[0]`).
pub(crate) const NAME: &str = "sitar-acme";
/// The variable that tells a program what it is: the number of its supervisor's process.
pub(crate) const ACME_OF: &str = "SITAR_ACME_OF";

/// The time that the operator's program that changes the DNS may take.
pub(crate) const DNS_COMMAND_TIME: Duration = Duration::from_secs(240);

/// Ports that it may connect to besides those of directories: of HTTPS, and of resolvers.
const PORTS: [u16; 2] = [443, 53];

/// Whether this process was started to order certificates.
pub(crate) fn is_this_process() -> bool {
    std::env::var_os(ACME_OF).is_some()
}

/// Orders what the supervisor wants, until that is gone.
///
/// # Errors
/// It was not started by a supervisor, or its sandbox is not whole where it has to be.
pub(crate) fn run() -> Result<(), Error> {
    let channel = worker::take_standard_input().ok().filter(|channel| {
        let supervisor = channel.maker().map(|pid| pid.to_string().into());
        supervisor.is_some() && supervisor == std::env::var_os(ACME_OF)
    });
    let channel = channel.ok_or_else(|| {
        Error::new(format!("the variable {ACME_OF} is set, and no supervisor has started this process"))
            .hint("sitar sets it for its own processes: take it out of the environment")
    })?;
    let _ = rustix::thread::set_name(c"sitar-acme");
    worker::ignore_signals();
    let broken = |error: io::Error| Error::new("the supervisor is not understood").cause(error);
    let Some(first) = channel.receive(Limits::OF_SUPERVISOR).map_err(broken)? else { return Ok(()) };
    let question = Question::read(first).ok_or_else(|| broken(not_understood()))?;
    let number = question.number;
    let Some((job, folder)) = Job::read(question.message) else { return Err(broken(not_understood())) };
    events::set_form(job.events);
    let entered = folder.try_clone().map_err(broken).and_then(|folder| {
        let mut ports =
            job.plan.authorities.iter().filter_map(|one| job::port(&one.directory)).collect::<Vec<_>>();
        ports.extend(PORTS);
        ports.sort_unstable();
        ports.dedup();
        sandbox::enter(job.policy, Reach::Authorities { folder, ports })
    });
    let line = Arc::new(Line::new(channel));
    let (world, commands) = World::new(Arc::clone(&line));
    let obey = move || commands.obey();
    let reader = thread::Builder::new().name("sitar-line".into()).spawn(obey);
    reader.map_err(crate::serve::cannot_start_a_thread)?;
    let sealed = entered.and_then(|_| sandbox::seal_acme(job.policy));
    let answer = sealed.as_ref().map_or_else(|error| error.sentence().into(), |()| true.into());
    let _ = line.answer(number, &answer, &[]);
    sealed.and_then(|()| world.order(job.plan, folder.as_fd()))
}
