use std::io;

use sitar_engines::rings::Memory;

use super::*;

fn cores(count: usize, numbers: &[u32]) -> Cores {
    Cores { count, numbers: numbers.to_vec() }
}

fn polling(shards: u16, cores: Cores) -> Result<Polling, Error> {
    super::polling(None, NonZeroU16::new(shards).unwrap(), cores)
}

fn choose(wanted: EngineChoice, found: Result<(), Unavailable>) -> Result<Engine, String> {
    super::choose(wanted, || found.map_err(NoRing::from), || polling(1, cores(2, &[0, 1])))
        .map_err(|error| error.render(false))
}

#[test]
fn auto_is_io_uring_and_never_the_polling_one() {
    assert_eq!(choose(EngineChoice::Auto, Ok(())), Ok(Engine::Uring));
    let asked = super::choose(EngineChoice::Auto, || Ok(()), || panic!("polling was not asked for"));
    assert!(matches!(asked, Ok(Engine::Uring)));
}

#[test]
fn auto_falls_back_to_epoll_for_lasting_reasons_and_says_which() {
    for (why, expected) in [
        (Unavailable::KernelTooOld("5.15.0-91".to_owned()), "kernel 5.15.0-91 is older than 6.1"),
        (
            Unavailable::Forbidden,
            "io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)",
        ),
        (Unavailable::Missing, "this kernel was built without io_uring, or a seccomp profile hides it"),
    ] {
        let because = Because { why: expected.to_owned(), remedy: None };
        assert_eq!(choose(EngineChoice::Auto, Err(why)), Ok(Engine::Epoll(Some(because))));
    }
    let failed = Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(5));
    assert_eq!(
        choose(EngineChoice::Auto, Err(failed)).unwrap_err(),
        "error: cannot start the io_uring engine\n\
         \x20 cause: io_uring_setup: Input/output error (os error 5)\n"
    );
}

#[test]
fn where_addresses_of_clients_are_needed_auto_is_epoll_and_says_so() {
    let choose = |wanted| {
        super::choose(wanted, || Err(NoRing::hiding_peers()), || polling(1, cores(2, &[0, 1])))
            .map_err(|error| error.render(false))
    };
    let why = "this kernel's io_uring does not tell the addresses of clients, which the configuration needs";
    let because = Because { why: why.to_owned(), remedy: None };
    assert_eq!(choose(EngineChoice::Auto), Ok(Engine::Epoll(Some(because))));
    for wanted in [EngineChoice::Uring, EngineChoice::Sqpoll] {
        assert_eq!(
            choose(wanted).unwrap_err(),
            format!(
                "error: cannot start the io_uring engine\n\
                 \x20 cause: {why}\n\
                 \x20 hint: boot Linux 6.7 or newer\n\
                 \x20 hint: or do without io_uring: --engine epoll, which --engine auto chooses by itself\n"
            )
        );
    }
}

fn no_memory() -> Unavailable {
    Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(12))
}

/// `io_uring_setup: Cannot allocate memory` where the user may lock that much and has two shards.
fn locked_out(limit: u64) -> NoRing {
    let config = sitar_io::Config { connections: 8448, rx_count: 512, ..sitar_engines::SMALL };
    let memory = Memory { limit: Some(limit), shards: 2 };
    memory.make::<()>(&config, |_| Err(no_memory())).unwrap_err()
}

#[test]
fn without_memory_for_rings_auto_is_epoll_and_says_what_to_type() {
    let chosen = super::choose(EngineChoice::Auto, || Err(locked_out(0)), || panic!("polling"));
    let Engine::Epoll(Some(why)) = chosen.unwrap() else { panic!("no epoll") };
    assert_eq!(
        why.to_string(),
        "this user may lock 0 KiB of memory (ulimit -l), and the rings of 2 shards need at least 64 KiB: raise that limit by \
         LimitMEMLOCK=infinity in a systemd unit, `ulimit -l unlimited`, or docker run --ulimit memlock=-1"
    );
    // A container without memory.
    assert_eq!(
        choose(EngineChoice::Auto, Err(no_memory())),
        Ok(Engine::Epoll(Some(Because {
            why: "io_uring_setup: Cannot allocate memory (os error 12)".to_owned(),
            remedy: None
        })))
    );
    let refused = super::choose(EngineChoice::Uring, || Err(locked_out(0)), || panic!("polling"));
    assert_eq!(
        refused.unwrap_err().render(false),
        "error: cannot start the io_uring engine\n\
         \x20 cause: this user may lock 0 KiB of memory (ulimit -l), and the rings of 2 shards need at least 64 KiB\n\
         \x20 hint: raise that limit by LimitMEMLOCK=infinity in a systemd unit, `ulimit -l unlimited`, or docker run --ulimit \
         memlock=-1\n\
         \x20 hint: or make fewer rings: --shards\n\
         \x20 hint: or do without: --engine epoll, which --engine auto chooses by itself\n"
    );
}

#[test]
fn other_limits_are_named_too() {
    let said = |number| {
        let failed = Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(number));
        choose(EngineChoice::Uring, Err(failed)).unwrap_err().lines().last().unwrap().to_owned()
    };
    assert_eq!(
        said(24),
        "  hint: raise the limit on open files: `ulimit -n`, or LimitNOFILE= in a systemd unit"
    );
    assert_eq!(said(23), "  hint: this machine has no file left to open: see `sysctl fs.file-max`");
    assert_eq!(
        said(11),
        "  hint: allow more threads (TasksMax= in a systemd unit, `ulimit -u`, docker run --pids-limit), or start fewer: --shards"
    );
    assert_eq!(
        said(12),
        "  hint: allow more memory (MemoryMax= in a systemd unit, `ulimit -v`, docker run --memory), or start fewer shards: \
         --shards"
    );
}

#[test]
fn what_was_asked_for_runs_or_the_start_fails() {
    assert_eq!(choose(EngineChoice::Uring, Ok(())), Ok(Engine::Uring));
    assert!(matches!(
        choose(EngineChoice::Sqpoll, Ok(())),
        Ok(Engine::SqPoll(Polling { cores: Cores { count: 2, .. }, .. }))
    ));
    for wanted in [EngineChoice::Uring, EngineChoice::Sqpoll] {
        assert_eq!(
            choose(wanted, Err(Unavailable::Forbidden)).unwrap_err(),
            "error: cannot start the io_uring engine\n\
             \x20 cause: io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)\n\
             \x20 hint: check `sysctl kernel.io_uring_disabled` (0 allows it); in a container, allow io_uring_setup, \
             io_uring_enter and io_uring_register in its seccomp profile\n\
             \x20 hint: or do without: --engine epoll, which --engine auto chooses by itself\n"
        );
    }
    // Whatever io_uring would say.
    assert_eq!(choose(EngineChoice::Epoll, Err(Unavailable::Forbidden)), Ok(Engine::Epoll(None)));
}

#[test]
fn one_core_is_refused() {
    assert_eq!(
        polling(1, cores(1, &[3])).unwrap_err().render(false),
        "error: the polling engine needs two cores, and this process may use one\n\
         \x20 cause: a shard and its polling thread keep each other waiting on one core\n\
         \x20 hint: use --engine uring, or allow more cores (taskset, or the container's limit)\n"
    );
}
