use super::*;

/// The tip for a command line that is refused.
fn tip(arguments: &[&str]) -> String {
    let all: Vec<&str> = ["sitar"].iter().chain(arguments).copied().collect();
    let text = crate::cli::parse(all, None).unwrap_err().to_string();
    let tips: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("tip: ")).collect();
    assert_eq!(tips.len(), 1, "{arguments:?}: {text}");
    tips[0].to_owned()
}

#[test]
fn the_address_that_is_named_is_one_that_listen_takes() {
    for (arguments, expected) in [
        (&["-l", "tcp://0.0.0.0:3000"][..], "--listen 0.0.0.0:3000"),
        (&["-l", "tcp://localhost:3000"], "--listen localhost:3000"),
        (&["--addr", "http://[::1]:80/"], "--listen '[::1]:80'"),
        (&["--addr", "[::1]"], "--listen '[::1]:8443'"),
        (&["--host", "localhost"], "--listen localhost:8443"),
        (&["-a", "joe:secret"], "--listen ADDRESS:PORT"),
        (&["--host", "example.org"], "--listen ADDRESS:PORT"),
        (&["--host", "example.org:80"], "--listen ADDRESS:PORT"),
        (&["-l", "unix:/run/sitar"], "--listen ADDRESS:PORT"),
        (&["--port", "http"], "--listen PORT"),
        (&["--port=99999"], "--listen PORT"),
        (&["-p", "/srv"], "--listen PORT"),
    ] {
        let tip = tip(&[&["serve"], arguments].concat());
        assert!(
            tip.ends_with(&format!(" with --listen: sitar serve PATH {expected}")),
            "{arguments:?}: {tip}"
        );
    }
}

#[test]
fn habits_of_other_servers() {
    let (serve, check) = ("sitar serve PATH", "sitar check PATH");
    for (arguments, expected) in [
        // nginx
        (&["-t"][..], check),
        (&["-c", "nginx.conf"], "the configuration file is given with --config FILE"),
        (&["-s", "reload"], "sitar reload, or without a configuration kill -HUP PID"),
        (&["-s", "stop"], "kill PID"),
        (&["-s", "quit"], "kill PID"),
        (&["-g", "daemon off;"], "it stays in the foreground"),
        (&["reopen"], "kill -HUP PID"),
        (&["stop"], "kill PID"),
        // Caddy
        (&["file-server"], serve),
        (&["file-server", "--root", "."], serve),
        (&["run", "--config", "Caddyfile"], serve),
        (&["validate"], check),
        (&["serve", "--server-name", "own.test"], "with --domain NAME"),
        (&["serve", "--email", "joe@own.test"], "with --domain NAME"),
        // python -m http.server
        (&["-m", "http.server", "8000"], "sitar serve ."),
        (&["http.server"], "sitar serve ."),
        // serve, http-server, miniserve
        (&["serve", "-s", "dist"], "/* /index.html 200"),
        (&["serve", "-g"], "sitar pack"),
        (&["serve", "-c-1"], "the configuration file is given with --config FILE"),
        (&["serve", "-S", "-C", "cert.pem"], "HTTPS is what is served"),
        (&["serve", "-o"], "no browser is opened"),
        (&["serve", "--auth", "joe:1"], "cannot have users yet"),
        (&["serve", "--no-cache"], "Cache-Control"),
        (&["serve", "--version"], "sitar --version"),
        (&["serve", "-V"], "sitar --version"),
        (&["serve", "--quiet"], "requests are logged only with --access-log FILE"),
        (&["serve", "--log-file", "x"], "requests are logged only with --access-log FILE"),
        (&["serve", "--list"], "folders are not listed"),
        (&["serve", "--proxy", "http://own.test"], "not passed on"),
        (&["serve", "-D"], "it stays in the foreground"),
        // The shift key
        (&["SERVE", "."], "verbs are in lower case: sitar serve"),
        (&["Pack", "."], "verbs are in lower case: sitar pack"),
        (&["build"], "sitar pack DIR -o site.tar"),
    ] {
        let tip = tip(arguments);
        assert!(tip.contains(expected), "{arguments:?}: {tip}");
    }
}

#[test]
fn paths_that_do_not_exist_and_mean_something_else() {
    for (path, expected) in [
        ("9000", Some("to listen on this port: sitar serve PATH --listen 9000")),
        (":80", Some("to listen on this port: sitar serve PATH --listen :80")),
        ("help", Some("for help: sitar serve --help")),
        ("-", Some("a site is not read from standard input; it is a file or a folder")),
        ("https://own.test/", Some("it is a path on this machine, and no URL")),
        ("public", None),
        ("70000", None),
        ("", None),
    ] {
        assert_eq!(instead_of_site(Path::new(path)).as_deref(), expected, "{path}");
    }
}

#[test]
fn numbers_say_what_they_are_of() {
    for (arguments, expected) in [
        (
            ["serve", "--memory", "1G"],
            "'1G' for '--memory <SIZE>': expected a size: 512 MiB, 1 GiB, or a number of MiB",
        ),
        (
            ["serve", "--memory", ""],
            "'' for '--memory <SIZE>': expected a size: 512 MiB, 1 GiB, or a number of MiB",
        ),
        (
            ["serve", "--connections", "0"],
            "'0' for '--connections <N>': expected a whole number from 1 to 4294967295",
        ),
        (
            ["serve", "--connections", "many"],
            "'many' for '--connections <N>': expected a whole number from 1 to 4294967295",
        ),
    ] {
        let all = ["sitar"].iter().chain(&arguments);
        let text = crate::cli::parse(all, None).unwrap_err().to_string();
        assert!(text.starts_with(&format!("error: invalid value {expected}\n")), "{text}");
    }
}
