//! Sites that are for some networks only, on kernels whose io_uring tells addresses and on others.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::site::write;
use crate::common::{Server, lab, run_with, sitar};
use tempfile::TempDir;

/// io_uring tells the addresses of clients since Linux 6.7.
const TELLS: (u32, u32) = (6, 7);

#[test]
fn addresses_are_told_by_the_engine_that_is_chosen() {
    if !lab::inside_or_skip() {
        return;
    }
    let folder = TempDir::new().unwrap();
    write(folder.path(), "site/a.txt", "for some\n");
    let file = folder.path().join("sitar.toml");
    let configure = |engine: &str, site: &str| {
        let text = format!(
            "[server]\ntls = \"off\"\nengine = \"{engine}\"\n[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n[[site]]\nroot = \"site\"\n{site}"
        );
        fs::write(&file, text).unwrap();
    };
    let statuses = |server: &Server| {
        let mut stream = TcpStream::connect(server.listeners("http")[0]).unwrap();
        stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let (engine, is_told) = match lab::kernel() >= TELLS {
        true => ("io_uring", true),
        false => ("epoll", false),
    };

    configure("auto", "allow = \"127.0.0.0/8\"\n");
    let server = Server::start_configured(&file);
    assert!(server.said().contains(&format!("engine   {engine}")), "{}", server.said());
    assert_eq!(server.said().contains("does not tell the addresses of clients"), !is_told);
    assert_eq!(statuses(&server), "200");
    drop(server);

    // A reload that needs them.
    configure("auto", "");
    let server = Server::start_configured(&file);
    assert!(server.said().contains("engine   io_uring"), "{}", server.said());
    configure("auto", "deny = \"127.0.0.0/8\"\n");
    let reload = || {
        run_with(sitar(folder.path()).args(["reload", "--socket"]).arg(folder.path().join("admin.sock")), b"")
    };
    reload().ok();
    assert_eq!(statuses(&server), "403");
    drop(server);

    if !is_told {
        configure("uring", "deny = \"127.0.0.0/8\"\n");
        let checked = run_with(sitar(folder.path()).args(["config", "check"]).arg(&file), b"");
        assert_eq!(checked.status.code(), Some(3));
        let said = [&*String::from_utf8_lossy(&checked.stdout), &*checked.stderr].concat();
        assert!(said.contains("cannot start the io_uring engine"), "{said}");
    }
}
