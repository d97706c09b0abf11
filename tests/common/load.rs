//! A load of fixed size: so many requests on connections that stay open.

use super::Server;
use super::client::{Client, config};

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

    /// Sends so many requests, shared evenly by the connections, each connection from a thread of its own.
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
}
