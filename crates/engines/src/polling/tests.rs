use super::*;

fn cores(count: usize, numbers: &[u32]) -> Cores {
    Cores { count, numbers: numbers.to_vec() }
}

fn polling(shards: u16, cores: Cores) -> Option<Polling> {
    Polling::new(None, NonZeroU16::new(shards).unwrap(), cores)
}

#[test]
fn each_poller_has_a_core_of_its_own_or_none_is_bound() {
    assert_eq!(polling(1, cores(2, &[0, 1])).unwrap().pollers, [1]);
    assert_eq!(polling(2, cores(5, &[1, 3, 5, 7, 9])).unwrap().pollers, [7, 9]);
    for (shards, cores) in [
        (2, cores(3, &[0, 1, 2])),
        // A quota of two cores on a machine of four.
        (2, cores(2, &[0, 1, 2, 3])),
        // Numbers beyond what the kernel's interface was asked for.
        (1, cores(2, &[])),
    ] {
        assert_eq!(polling(shards, cores).unwrap().pollers, [0_u32; 0]);
    }
}

#[test]
fn a_poller_is_awake_for_as_long_as_its_shard() {
    let two = || cores(2, &[0, 1]);
    let short =
        Polling::new(Some(Duration::from_micros(5)), NonZeroU16::MIN, two()).unwrap().settings(Some(1));
    assert_eq!(
        short,
        SqPoll { spin: Duration::from_micros(5), idle: Duration::from_millis(10), cpu: Some(1) }
    );
    let long = Polling::new(Some(Duration::from_secs(10)), NonZeroU16::MIN, two()).unwrap().settings(None);
    assert_eq!(long, SqPoll { spin: Duration::from_secs(10), idle: Duration::from_secs(10), cpu: None });
    assert_eq!(polling(1, two()).unwrap().settings(None).spin, Duration::from_millis(1));
}

#[test]
fn polling_threads_are_found_by_their_name() {
    let tasks = tempfile::TempDir::new().unwrap();
    let add = |task: &str, name: &str, schedstat: &str| {
        let folder = tasks.path().join(task);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("comm"), name).unwrap();
        fs::write(folder.join("schedstat"), schedstat).unwrap();
    };
    add("1", "sitar\n", "5000000000 1 1\n");
    assert_eq!(pollers_cpu(tasks.path()), None);
    add("2", "iou-sqp-1\n", "1500000000 20 3\n");
    add("3", "iou-sqp-12\n", "250000000 20 3\n");
    add("4", "iou-wrk-1\n", "9000000000 20 3\n");
    add("5", "iou-sqp-13\n", "\n");
    assert_eq!(pollers_cpu(tasks.path()), Some((Duration::from_millis(1750), 2)));
    assert_eq!(pollers_cpu(Path::new("/nowhere")), None);
}
