use super::*;

#[test]
fn a_program_gets_its_input() {
    let finished = RealTools.run("cat", &[], b"what was checked").unwrap();
    assert_eq!((finished.success, finished.stdout.as_str()), (true, "what was checked"));
    assert_eq!(RealTools.run("no-such-program", &[], b"").unwrap_err().kind(), io::ErrorKind::NotFound);
    // One that reads nothing.
    assert!(RealTools.run("true", &[], &[b'x'; 200_000]).unwrap().success);
}

#[test]
fn roots_programs_do_not_see_the_environment() {
    let finished = RealTools.run("env", &[], b"").unwrap();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    if geteuid().is_root() {
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    } else {
        assert!(
            lines.contains(&"LC_ALL=C") && lines.iter().any(|line| line.starts_with("CARGO")),
            "{lines:?}"
        );
    }
}
