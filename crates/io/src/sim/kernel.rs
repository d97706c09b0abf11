//! The simulated kernel: operations in flight, the file table, and what it reports.
//!
//! The rules that the ring relies on are kept: operations start in the order in which they were
//! queued, each has one terminal completion, those of one operation keep their order, and memory is
//! touched only while an operation lives. The ring's own promises are checked from this side: see
//! [`State::blame`].

mod report;
mod work;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;

use self::report::Posted;
use super::net::End;
use super::sealing::Wanted;
use super::state::{Due, State};
use crate::engine::{Answer, Completion, Full, Look, Memory};
use crate::file::File;
use crate::key::Key;
use crate::op::Request;
use crate::send_buf::SendBuf;
use crate::table::EntryId;
use crate::waker::Waker;

/// Receives of one connection in one go, as the kernel bounds them.
const RECEIVES_MAX: usize = 32;
/// Entries of the submission queue.
const QUEUE_MAX: usize = 4096;

/// An operation as this kernel holds it.
enum Work {
    Accept(Key),
    Adopt,
    Recv,
    Writable,
    Send { done: usize, whole: bool, record: Option<u8> },
    Read { file: File, at: u64, ready: Duration },
    RecvFrom(SocketAddr),
    SendTo,
    Look { look: Look, dir: File, path: CString, ready: Duration },
    Peer { ipv6: bool },
    SetOpt(Wanted),
    Unacked,
    Shutdown,
    Close,
    Cancel(EntryId),
    CancelSlot,
    CancelAll,
    Wake(Waker),
}

impl Work {
    fn look(look: Look, dir: &File, path: &CStr) -> Work {
        Work::Look { look, dir: dir.clone(), path: path.to_owned(), ready: Duration::ZERO }
    }

    /// Returns the names of its start and of its completions in a trace, which the hash of a run
    /// covers.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Work::Accept(_) => ("accept", "accept ="),
            Work::Adopt => ("adopt", "adopt ="),
            Work::Recv => ("recv", "recv ="),
            Work::Writable => ("poll-out", "poll-out ="),
            Work::Send { .. } => ("send", "send ="),
            Work::Read { .. } => ("read", "read ="),
            Work::RecvFrom(_) => ("recv-from", "recv-from ="),
            Work::SendTo => ("send-to", "send-to ="),
            Work::Look { look: Look::Open, .. } => ("open", "open ="),
            Work::Look { look: Look::Stat, .. } => ("stat", "stat ="),
            Work::Peer { .. } => ("peer", "peer ="),
            Work::SetOpt(_) => ("set-opt", "set-opt ="),
            Work::Unacked => ("unsent", "unsent ="),
            Work::Shutdown => ("shutdown", "shutdown ="),
            Work::Close => ("close", "close ="),
            Work::Cancel(_) => ("cancel", "cancel ="),
            Work::CancelSlot => ("cancel-slot", "cancel-slot ="),
            Work::CancelAll => ("cancel-all", "cancel-all ="),
            Work::Wake(_) => ("wake", "wake ="),
        }
    }
}

pub(super) struct Task {
    pub(super) id: EntryId,
    work: Work,
    /// Place in the file table that it works on, and who lived there when it was queued.
    place: Option<u32>,
    tenant: Option<usize>,
    /// Sort key of its last completion: its completions stay in order.
    last: (Duration, u64),
}

/// The kernel's side of one ring. A second ring in the same world starts with a fresh one.
#[derive(Default)]
pub(super) struct Kernel {
    /// The file table: which link lives in each place.
    pub(super) table: Vec<Option<usize>>,
    queue: VecDeque<Task>,
    /// Operations that have started, oldest first.
    tasks: Vec<Task>,
    posted: BinaryHeap<Reverse<Posted>>,
    order: u64,
    visible: VecDeque<Completion>,
    /// Receive slots that the ring has published.
    slots: VecDeque<u16>,
    /// Answers that the ring has not asked for yet.
    answers: Vec<(EntryId, Answer)>,
    rx_len: usize,
}

impl Kernel {
    pub(super) fn new(places: u32, rx_len: u32) -> Kernel {
        Kernel { table: vec![None; places as usize], rx_len: rx_len as usize, ..Kernel::default() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.queue.len() + self.tasks.len()
    }

    pub(super) fn open(&self) -> usize {
        self.table.iter().flatten().count()
    }

    pub(super) fn publish(&mut self, slot: u16) {
        self.slots.push_back(slot);
    }

    pub(super) fn take(&mut self) -> Option<Completion> {
        self.visible.pop_front()
    }

    pub(super) fn has_visible(&self) -> bool {
        !self.visible.is_empty()
    }

    /// Returns when the next completion is to be reported.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.posted.peek().map(|Reverse(posted)| posted.due)
    }

    pub(super) fn take_slot(&mut self) -> Option<u16> {
        self.slots.pop_front()
    }

    pub(super) fn answer(&mut self, id: EntryId) -> Option<Answer> {
        let at = self.answers.iter().position(|(of, _)| *of == id)?;
        Some(self.answers.swap_remove(at).1)
    }

    /// Files that were opened and not handed over yet.
    pub(super) fn unclaimed(&self) -> usize {
        self.answers.iter().filter(|(_, answer)| matches!(answer, Answer::File(_))).count()
    }

    /// Returns the waker whose operation is in flight.
    pub(super) fn waker(&self) -> Option<Waker> {
        self.tasks.iter().find_map(|task| match &task.work {
            Work::Wake(waker) => Some(waker.clone()),
            _ => None,
        })
    }

    fn tenant(&self, place: Option<u32>) -> Option<usize> {
        *self.table.get(place? as usize)?
    }
}

impl State {
    pub(super) fn submit(&mut self, id: EntryId, request: &Request<'_>) -> Result<(), Full> {
        if self.kernel.queue.len() >= QUEUE_MAX || self.rng.chance(self.faults.full_queue) {
            self.note("full-queue", u64::from(id.index()), 0);
            return Err(Full);
        }
        let (work, place) = match *request {
            Request::Accept { listener } => (Work::Accept(listener.key), None),
            Request::Adopt { .. } => (Work::Adopt, None),
            Request::Recv { slot, .. } => (Work::Recv, Some(slot)),
            Request::Send { slot, buf, whole, .. } => {
                let record = match buf {
                    SendBuf::Record(content_type, _) => Some(*content_type),
                    SendBuf::Tx(_) | SendBuf::Shared(..) | SendBuf::Gather(_) => None,
                };
                (Work::Send { done: 0, whole, record }, Some(slot))
            }
            Request::Writable { slot } => (Work::Writable, Some(slot)),
            Request::Read { file, at, .. } => {
                (Work::Read { file: file.clone(), at, ready: Duration::ZERO }, None)
            }
            Request::RecvFrom { at } => {
                self.inboxes.entry(at.address()).or_default();
                (Work::RecvFrom(at.address()), None)
            }
            Request::SendTo { .. } => (Work::SendTo, None),
            Request::Open { dir, path } => (Work::look(Look::Open, dir, path), None),
            Request::Stat { dir, path } => (Work::look(Look::Stat, dir, path), None),
            Request::Peer { slot, ipv6 } => (Work::Peer { ipv6 }, Some(slot)),
            Request::SetOpt { slot, opt } => (Work::SetOpt(self.wanted(opt)), Some(slot)),
            Request::Unacked { slot } => (Work::Unacked, Some(slot)),
            Request::Shutdown { slot } => (Work::Shutdown, Some(slot)),
            Request::Close { slot } => (Work::Close, Some(slot)),
            Request::Cancel { target } => (Work::Cancel(target), None),
            Request::CancelSlot { slot } => (Work::CancelSlot, Some(slot)),
            Request::CancelAll => (Work::CancelAll, None),
            Request::Wake { waker } => (Work::Wake(waker.clone()), None),
        };
        let tenant = self.kernel.tenant(place);
        let task = Task { id, work, place, tenant, last: (Duration::ZERO, 0) };
        self.kernel.queue.push_back(task);
        Ok(())
    }

    /// Starts what was queued. Returns `false` when the kernel took only some of it.
    pub(super) fn start_queued(&mut self, memory: &mut Memory<'_>) -> bool {
        while !self.kernel.queue.is_empty() {
            if self.rng.chance(self.faults.partial_submit) {
                self.note("partial-submit", self.kernel.queue.len() as u64, 0);
                return false;
            }
            if let Some(task) = self.kernel.queue.pop_front() {
                self.start(task, memory);
            }
        }
        true
    }

    fn start(&mut self, mut task: Task, memory: &mut Memory<'_>) {
        self.note(task.work.names().0, u64::from(task.id.index()), task.place.map_or(-1, i64::from));
        if task.place.is_some() {
            if self.kernel.tenant(task.place) != task.tenant {
                self.blame("an operation reached another connection than it was meant for (I5)");
            }
            if task.tenant.is_none() {
                return self.end(task, Err(Errno::BADF));
            }
        }
        match task.work {
            Work::Close => {
                let place = task.place;
                if self.kernel.tasks.iter().any(|other| other.place == place) {
                    self.blame("a close before everything on its descriptor had ended (I5)");
                }
                let result = match self.rng.chance(self.faults.close_error) {
                    true => Err([Errno::INTR, Errno::IO][self.rng.below(2)]),
                    false => Ok(0),
                };
                self.leave(place);
                return self.end(task, result);
            }
            Work::Cancel(_) | Work::CancelSlot | Work::CancelAll
                if self.rng.chance(self.faults.cancel_error) =>
            {
                return self.end(task, Err(Errno::NOMEM));
            }
            Work::Cancel(target) => {
                let result = self.cancel(target, memory);
                return self.end(task, result);
            }
            Work::CancelSlot | Work::CancelAll => {
                let targets: Vec<EntryId> = self
                    .kernel
                    .tasks
                    .iter()
                    .filter(|other| task.place.is_none() || other.place == task.place)
                    .map(|other| other.id)
                    .collect();
                let mut found = Err(Errno::NOENT);
                for target in targets {
                    if self.cancel(target, memory) != Err(Errno::NOENT) {
                        found = Ok(found.unwrap_or(0) + 1);
                    }
                }
                return self.end(task, found);
            }
            Work::Adopt => {
                let result = self.adopt(task.id);
                return self.end(task, result);
            }
            _ if self.rng.chance(self.faults.no_memory) => return self.end(task, Err(Errno::NOMEM)),
            Work::Peer { .. } if self.rng.chance(self.faults.no_peer) => {
                return self.end(task, Err(Errno::OPNOTSUPP));
            }
            Work::Peer { ipv6 } => {
                let result = match task.tenant {
                    Some(link) => {
                        let ip: IpAddr = match (self.links[link].source, ipv6) {
                            (Some(IpAddr::V4(ip)), true) => ip.to_ipv6_mapped().into(),
                            (Some(ip), _) => ip,
                            (None, true) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
                            (None, false) => Ipv4Addr::new(192, 0, 2, 1).into(),
                        };
                        let port = 1024 + (link % 60_000) as u16;
                        self.kernel.answers.push((task.id, Answer::Address((ip, port).into())));
                        Ok(0)
                    }
                    None => Err(Errno::BADF),
                };
                return self.end(task, result);
            }
            Work::SetOpt(ref mut wanted) => {
                let wanted = std::mem::replace(wanted, Wanted::Nothing);
                let result = match task.tenant {
                    Some(link) => self.set_opt(link, wanted),
                    None => Err(Errno::BADF),
                };
                return self.end(task, result);
            }
            Work::Unacked => {
                let result = task.tenant.map(|link| self.links[link].unacked() as u32).ok_or(Errno::BADF);
                return self.end(task, result);
            }
            Work::SendTo => return self.start_send_to(task, memory),
            Work::Shutdown => {
                if let Some(link) = task.tenant {
                    self.with_link(link, |link, clock| link.finish(End::Server, clock));
                }
                return self.end(task, Ok(0));
            }
            Work::Read { ref mut ready, .. } | Work::Look { ref mut ready, .. } => {
                *ready = self.now + self.rng.time(self.faults.latency);
                let when = *ready;
                self.schedule(when, Due::Look);
            }
            // `work` goes on with these.
            Work::Accept(_)
            | Work::Recv
            | Work::Writable
            | Work::Send { .. }
            | Work::RecvFrom(_)
            | Work::Wake(_) => {}
        }
        self.kernel.tasks.push(task);
    }

    /// A descriptor leaves the file table.
    fn leave(&mut self, place: Option<u32>) {
        let entry = place.and_then(|place| self.kernel.table.get_mut(place as usize));
        if let Some(link) = entry.and_then(Option::take) {
            self.with_link(link, |link, clock| link.close(End::Server, clock));
        }
    }

    fn cancel(&mut self, target: EntryId, memory: &mut Memory<'_>) -> Result<u32, Errno> {
        let Some(at) = self.kernel.tasks.iter().position(|task| task.id == target) else {
            return Err(Errno::NOENT);
        };
        if self.rng.chance(self.faults.cancel_race) {
            match self.rng.below(3) {
                // It is being executed just now: it ends by itself, or a little later.
                0 => {
                    let when = self.now + Duration::from_micros(1 + self.rng.below(3000) as u64);
                    self.schedule(when, Due::Doom(target.to_bits()));
                    return Err(Errno::ALREADY);
                }
                // It makes progress first, and may end by it.
                1 => {
                    let task = self.kernel.tasks.remove(at);
                    let task = self.work(task, memory).ok_or(Errno::NOENT)?;
                    self.abort(task);
                    return Ok(0);
                }
                _ => {}
            }
        }
        let task = self.kernel.tasks.remove(at);
        self.abort(task);
        Ok(0)
    }

    /// Ends a task early.
    fn abort(&mut self, task: Task) {
        // io_uring reports what a send has achieved, if anything (REQ_F_PARTIAL_IO).
        let result = match task.work {
            Work::Send { done, .. } if done > 0 => Ok(done as u32),
            _ => Err(Errno::CANCELED),
        };
        self.end(task, result);
    }

    /// The time of a cancelled operation has come.
    pub(super) fn doom(&mut self, target: EntryId) {
        if let Some(at) = self.kernel.tasks.iter().position(|task| task.id == target) {
            let task = self.kernel.tasks.remove(at);
            self.abort(task);
        }
    }

    /// The ring is done: whatever is left in the file table is closed.
    pub(super) fn shut(&mut self) {
        for place in 0..self.kernel.table.len() as u32 {
            self.leave(Some(place));
        }
        if self.kernel.in_flight() > 0 {
            self.blame("memory was given up with operations in flight (I3)");
        }
        self.kernel = Kernel::default();
    }

    pub(super) fn backlog(&mut self, listener: Key) -> &mut VecDeque<usize> {
        let at = self.backlogs.iter().position(|(key, _)| *key == listener).unwrap_or_else(|| {
            self.backlogs.push((listener, VecDeque::new()));
            self.backlogs.len() - 1
        });
        &mut self.backlogs[at].1
    }
}
