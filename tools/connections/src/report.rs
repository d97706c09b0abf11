//! What is printed: a line for each connection, and a summary.

use crate::record::{Ended, Tcp};
use std::fmt::Write as _;

/// The sums of all connections.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    connections: u64,
    /// Those of which TCP has said nothing.
    alone: u64,
    requests: u64,
    answers: u64,
    errors: u64,
    content: u64,
    unsent: u64,
    latency: u64,
    latency_max: u64,
    tcp: Tcp,
    /// The sum of the round trip times.
    srtt: u64,
    retransmits: u64,
}

impl Summary {
    /// Adds a connection.
    pub(crate) fn add(&mut self, ended: &Ended, tcp: Option<&Tcp>) {
        self.connections += 1;
        self.requests += ended.requests;
        self.answers += ended.answers;
        self.errors += ended.errors;
        self.content += ended.content;
        self.unsent += ended.unsent;
        self.latency = self.latency.saturating_add(ended.latency);
        self.latency_max = self.latency_max.max(ended.latency_max);
        let Some(tcp) = tcp else {
            self.alone += 1;
            return;
        };
        self.tcp.sent += tcp.sent;
        self.tcp.acked += tcp.acked;
        self.tcp.received += tcp.received;
        self.tcp.retransmitted += tcp.retransmitted;
        self.srtt += u64::from(tcp.srtt_us);
        self.retransmits += u64::from(tcp.retransmits);
    }

    /// Returns the sums as a line of JSON, or as text.
    pub(crate) fn print(&self, lost: u64, json: bool) -> String {
        let (latency, srtt) =
            (mean(self.latency, self.answers) / 1000, mean(self.srtt, self.connections - self.alone));
        if json {
            return format!(
                "{{\"type\":\"summary\",\"connections\":{},\"without_tcp\":{},\"requests\":{},\
                 \"answers\":{},\"errors\":{},\"content\":{},\"unsent\":{},\"latency_us\":{latency},\
                 \"latency_max_us\":{},\"tcp_sent\":{},\"tcp_acked\":{},\"tcp_received\":{},\
                 \"tcp_retransmitted\":{},\"retransmits\":{},\"srtt_us\":{srtt},\"lost\":{lost}}}",
                self.connections,
                self.alone,
                self.requests,
                self.answers,
                self.errors,
                self.content,
                self.unsent,
                self.latency_max / 1000,
                self.tcp.sent,
                self.tcp.acked,
                self.tcp.received,
                self.tcp.retransmitted,
                self.retransmits,
            );
        }
        let mut text = format!(
            "{} connections ({} without TCP), {} requests, {} answers ({} errors)\n\
             content   {} bytes given to the kernel, {} not; latency {latency} us, at most {} us\n\
             TCP       {} bytes sent, {} acknowledged, {} received; {} bytes in {} segments again; \
             round trip {srtt} us",
            self.connections,
            self.alone,
            self.requests,
            self.answers,
            self.errors,
            self.content,
            self.unsent,
            self.latency_max / 1000,
            self.tcp.sent,
            self.tcp.acked,
            self.tcp.received,
            self.tcp.retransmitted,
            self.retransmits,
        );
        if lost != 0 {
            let _ = write!(text, "\nlost      {lost} records: the ring buffer was full");
        }
        text
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "       MS HANDSHAKE  REQUESTS ERRORS      CONTENT   MEAN US    MAX US     TCP SENT \
                               TCP RECEIVED   SRTT US AGAIN CLOSED           PEER";

/// Returns a connection as a line of the table, or of JSON.
pub(crate) fn line(ended: &Ended, tcp: Option<&Tcp>, json: bool) -> String {
    let peer = ended.peer.map_or("-".to_owned(), |peer| peer.to_string());
    // Names of the server. It is not believed to send nothing else.
    let reason: String =
        ended.reason.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
    let mean = mean(ended.latency, ended.answers) / 1000;
    if !json {
        let tcp = tcp.cloned().unwrap_or_default();
        return format!(
            "{:9.1} {:9.1} {:9} {:6} {:12} {mean:9} {:9} {:12} {:12} {:9} {:5} {reason:<16} {peer}",
            ended.lasted as f64 / 1e6,
            ended.handshake as f64 / 1e6,
            ended.requests,
            ended.errors,
            ended.content,
            ended.latency_max / 1000,
            tcp.sent,
            tcp.received,
            tcp.srtt_us,
            tcp.retransmits,
        );
    }
    let mut line = format!(
        "{{\"type\":\"connection\",\"peer\":\"{peer}\",\"closed\":\"{reason}\",\"lasted_us\":{},\
         \"handshake_us\":{},\"requests\":{},\"answers\":{},\"errors\":{},\"content\":{},\"unsent\":{},\
         \"latency_us\":{mean},\"latency_max_us\":{}",
        ended.lasted / 1000,
        ended.handshake / 1000,
        ended.requests,
        ended.answers,
        ended.errors,
        ended.content,
        ended.unsent,
        ended.latency_max / 1000,
    );
    if let Some(tcp) = tcp {
        let _ = write!(
            line,
            ",\"local_port\":{},\"tcp_sent\":{},\"tcp_acked\":{},\"tcp_received\":{},\
             \"tcp_retransmitted\":{},\"retransmits\":{},\"srtt_us\":{}",
            tcp.local_port,
            tcp.sent,
            tcp.acked,
            tcp.received,
            tcp.retransmitted,
            tcp.retransmits,
            tcp.srtt_us,
        );
    }
    line.push('}');
    line
}

fn mean(sum: u64, count: u64) -> u64 {
    sum.checked_div(count).unwrap_or(0)
}
