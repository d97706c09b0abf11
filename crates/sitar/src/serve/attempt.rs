//! Chooses how the shards run on this machine, and starts them: on the engine that is wanted, with
//! smaller rings where memory is short, and on epoll where io_uring is not to be had.

use std::num::NonZeroU16;
use std::time::Duration;

use sitar_engines::polling::Cores;
use sitar_engines::rings::Memory;
use sitar_engines::{Because, Engine, Failed, Rings, start};
use sitar_server::{Hooks, Limits, Spec, StartError, TlsOffload, Worker};

use super::descriptors::{self, Needs};
use crate::engine::{self, lets_epoll_run};
use crate::error::Error;
use crate::offload;
use crate::sandbox::Policy;
use crate::settings::{self, EngineChoice, Settings, Tls};

/// The resources of this process, and the settings that share them out.
pub(crate) struct Machine<'s> {
    settings: &'s Settings,
    /// Listening sockets of each shard.
    addresses: usize,
    /// Sites that are open.
    sites: usize,
    /// Sockets on which connections are passed.
    passed: usize,
    /// The engine has to tell the addresses of clients.
    needs_peers: bool,
    cores: Cores,
    pub(crate) shards: NonZeroU16,
    memory: Memory,
}

/// The way in which the shards run.
pub(crate) struct Mode {
    pub(crate) engine: Engine,
    pub(crate) offload: TlsOffload,
    pub(crate) limits: Limits,
    /// Known once the shards have started.
    pub(crate) rings: Rings,
    /// A note for the operator about the limits.
    pub(crate) note: Option<String>,
}

impl<'s> Machine<'s> {
    pub(crate) fn of_this_process(settings: &'s Settings, addresses: usize, sites: usize) -> Machine<'s> {
        let cores = Cores::of_this_process();
        let shards = settings.shards.unwrap_or_else(|| default_shards(&cores, settings.engine));
        let memory = Memory::of_this_process(shards.get());
        Machine { settings, addresses, sites, needs_peers: false, passed: 0, cores, shards, memory }
    }

    /// The same with a number of shards that others have chosen.
    pub(crate) fn with_shards(
        settings: &'s Settings,
        shards: u16,
        addresses: usize,
        sites: usize,
    ) -> Machine<'s> {
        let shards = NonZeroU16::new(shards).unwrap_or(NonZeroU16::MIN);
        let (cores, memory) = (Cores::of_this_process(), Memory::of_this_process(shards.get()));
        Machine { settings, addresses, sites, needs_peers: false, passed: 0, cores, shards, memory }
    }

    /// The same, with an engine that tells the addresses of clients where `needed`.
    pub(crate) fn telling_peers(self, needed: bool) -> Machine<'s> {
        Machine { needs_peers: needed, ..self }
    }

    /// The same, with that many sockets on which connections are passed.
    pub(crate) fn receiving(self, passed: usize) -> Machine<'s> {
        Machine { passed, ..self }
    }

    /// Chooses an engine, and what goes with it.
    ///
    /// # Errors
    /// The engine or the sealing that was asked for is not available here.
    pub(crate) fn choose(&self) -> Result<Mode, Error> {
        let polling = || engine::polling(self.settings.spin, self.shards, self.cores.clone());
        let probe = || {
            sitar_engines::probe(&self.memory)?;
            if self.needs_peers { sitar_engines::probe_peers() } else { Ok(()) }
        };
        self.mode(engine::choose(self.settings.engine, probe, polling)?)
    }

    /// Returns what goes with an engine: who seals, and the limits of each shard as far as open
    /// files allow.
    fn mode(&self, engine: Engine) -> Result<Mode, Error> {
        let settings = self.settings;
        let offload = choose_offload(settings.tls, &engine)?;
        let limits = limits(settings, self.shards);
        let shared = matches!(engine, Engine::Epoll(_));
        let Machine { addresses, sites, passed, .. } = *self;
        let needs = Needs { shards: self.shards.get(), addresses, sites, shared, passed };
        let (limits, note) = descriptors::fit(limits, needs, settings.connections)?;
        Ok(Mode { engine, offload, limits, rings: Rings::None, note })
    }

    /// Starts the shards, if need be in another mode. Returns the mode in which they run.
    ///
    /// # Errors
    /// They cannot be started.
    pub(crate) fn start(&self, mut spec: Spec, hooks: &Hooks, mode: Mode) -> Result<(Worker, Mode), Error> {
        let is_restricted = self.settings.sandbox != Policy::Off;
        let start = |spec: &Spec, engine: &Engine, memory| start(spec, hooks, engine, memory, is_restricted);
        let mut started = start(&spec, &mode.engine, self.memory);
        let smaller = self.memory.shrunk(&spec.limits.ring());
        if let (Err(Failed::Ring(why)), Engine::Uring, Some(smaller)) = (&started, &mode.engine, smaller)
            && why.is_limit()
        {
            // Otherwise the first attempt has the better reason.
            started = start(&spec, &mode.engine, smaller).or(started);
        }
        match started {
            // All shards go over to epoll.
            Err(Failed::Ring(why)) if self.settings.engine == EngineChoice::Auto && lets_epoll_run(&why) => {
                let mode = self.mode(Engine::Epoll(Some(Because::from(&why))))?;
                (spec.limits, spec.offload) = (mode.limits.clone(), mode.offload);
                let (worker, rings) = start(&spec, &mode.engine, self.memory).map_err(explain)?;
                Ok((worker, Mode { rings, ..mode }))
            }
            started => {
                let (worker, rings) = started.map_err(explain)?;
                Ok((worker, Mode { rings, ..mode }))
            }
        }
    }
}

/// Returns the limits of each shard that the settings ask for.
pub(crate) fn limits(settings: &Settings, shards: NonZeroU16) -> Limits {
    Limits {
        handshake: seconds(settings.handshake_seconds),
        head: seconds(settings.head_seconds),
        idle: seconds(settings.idle_seconds),
        send: seconds(settings.send_seconds),
        drain: seconds(settings.stop_seconds),
        http2: !settings.no_http2,
        ..descriptors::wanted(settings.connections, shards)
    }
}

fn explain(failed: Failed) -> Error {
    match failed {
        Failed::Ring(why) => engine::explain(&why),
        Failed::Start(StartError::Io(error)) => {
            engine::hint_for(Error::new("cannot start the shards").cause(&error), &error)
        }
        Failed::Start(StartError::Listeners(error)) => {
            engine::hint_for(Error::new("cannot duplicate the listening sockets").cause(&error), &error)
        }
        Failed::Start(StartError::Tls(error)) => Error::new("cannot set up TLS").cause(error.to_string()),
        Failed::Start(error) => Error::new("cannot start the shards").cause(error.to_string()),
    }
}

/// Decides which side seals records. The kernel is tried only where it is asked for.
fn choose_offload(wanted: Tls, engine: &Engine) -> Result<TlsOffload, Error> {
    match (wanted, engine) {
        (Tls::Kernel, Engine::Epoll(why)) => {
            let error =
                Error::new("the kernel can seal TLS records only with an io_uring engine (--tls kernel)");
            Err(match why {
                Some(because) => error.cause(&because.why),
                None => error.cause("--engine epoll"),
            }
            .hint("let sitar seal, which is the default: --tls user"))
        }
        (Tls::Kernel, _) => offload::probe().map_err(|why| offload::explain(&why)),
        (Tls::Auto | Tls::User | Tls::Off, _) => Ok(TlsOffload::None),
    }
}

/// Returns one shard for each core; with the polling engine one for two, since each shard has a
/// polling thread beside it.
pub(crate) fn default_shards(cores: &Cores, engine: EngineChoice) -> NonZeroU16 {
    let shards = if engine == EngineChoice::Sqpoll { cores.count / 2 } else { cores.count };
    let shards = u16::try_from(shards).unwrap_or(u16::MAX).clamp(1, settings::SHARDS_MAX);
    NonZeroU16::new(shards).unwrap_or(NonZeroU16::MIN)
}

pub(crate) fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::merge::merge;

    #[test]
    fn without_settings_the_limits_are_the_servers_own() {
        let settings = merge(&[]).unwrap().settings;
        assert_eq!(limits(&settings, NonZeroU16::MIN), Limits::default());
        assert_eq!(limits(&settings, NonZeroU16::MAX), Limits::default());
    }
}
