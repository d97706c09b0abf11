//! A load of fixed size: a given number of requests on connections that stay open.

use super::client::{Client, config};
use super::{Server, eventually, signal};
use rustix::process::Signal;

/// Connections that stay open from one load to the next.
pub(crate) struct Load {
    clients: Vec<Client>,
    path: &'static str,
    /// Sent with each request, so that it can be conditional.
    fields: Vec<(&'static str, String)>,
    status: u16,
}

impl Load {
    pub(crate) fn new(server: &Server, connections: usize, path: &'static str, conditional: bool) -> Load {
        let config = config(server);
        let mut clients: Vec<Client> =
            (0..connections).map(|_| Client::open(&config, server.address()).unwrap()).collect();
        let first = clients[0].get(path).unwrap();
        assert_eq!(first.status, 200);
        let mut load = Load { clients, path, fields: Vec::new(), status: 200 };
        if conditional {
            load.fields.push(("If-None-Match", first.field("etag").unwrap().to_string()));
            load.status = 304;
        }
        // Warm: tickets sent, buffers at their size, the body in the cache.
        load.send(connections * 20);
        load
    }

    /// Sends the requests, shared evenly by the connections, each connection from a thread of its
    /// own.
    pub(crate) fn send(&mut self, requests: usize) {
        let each = requests / self.clients.len();
        assert_eq!(each * self.clients.len(), requests, "an uneven load");
        let fields: Vec<(&str, &str)> =
            self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (path, status) = (self.path, self.status);
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                let fields = &fields;
                scope.spawn(move || {
                    for _ in 0..each {
                        assert_eq!(client.request("GET", path, fields).unwrap().status, status, "{path}");
                    }
                });
            }
        });
    }

    /// Sends one request on each connection while the server is stopped, lets it go on, and reads
    /// the answers; `rounds` times.
    ///
    /// What the server finds when it wakes is then the same on every machine: all of them.
    pub(crate) fn together(&mut self, server: &Server, rounds: usize) {
        let head = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.path);
        for _ in 0..rounds {
            signal(server.pid(), Signal::STOP);
            eventually("a server that is stopped", || server.threads_in_state('T'));
            for client in &mut self.clients {
                client.send(head.as_bytes()).unwrap();
            }
            signal(server.pid(), Signal::CONT);
            for client in &mut self.clients {
                assert_eq!(client.response(false).unwrap().status, self.status, "{}", self.path);
            }
        }
    }
}
