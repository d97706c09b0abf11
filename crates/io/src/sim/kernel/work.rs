//! The progress of operations: what each does once it has started, and how it ends.

use rustix::io::Errno;

use super::{RECEIVES_MAX, Task, Work};
use crate::engine::{Answer, Look, Memory};
use crate::file::File;
use crate::key::Key;
use crate::read_buf::RUNS_MAX;
use crate::send_buf::SendBuf;
use crate::sim::PASSED;
use crate::sim::net::{End, Found, Link};
use crate::sim::sealing::Tls;
use crate::sim::state::State;
use crate::table::EntryId;

/// Plain text of one record, and the content type of data (RFC 8446 §5.1).
const RECORD_MAX: usize = 1 << 14;
const APPLICATION_DATA: u8 = 23;

/// Does what `preadv` does, by calls that Miri knows.
fn read_runs(file: &File, at: u64, runs: [&mut [u8]; RUNS_MAX]) -> Result<usize, Errno> {
    let mut done = 0;
    for run in runs {
        let wanted = run.len();
        match rustix::io::pread(file, run, at + done as u64) {
            Ok(count) => {
                done += count;
                if count < wanted {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

impl State {
    /// Lets every operation do what it can.
    pub(in crate::sim) fn work_all(&mut self, memory: &mut Memory<'_>) {
        let mut tasks = std::mem::take(&mut self.kernel.tasks);
        let first = if self.faults.reorder > 0 { self.rng.below(tasks.len()) } else { 0 };
        self.push_records();
        // From a random one on, so that no connection is always first at the receive slots.
        tasks.rotate_left(first);
        let mut left = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let Some(task) = self.work(task, memory) {
                left.push(task);
            }
        }
        self.kernel.tasks = left;
    }

    /// Lets one operation do what it can. It comes back when it has not ended.
    pub(super) fn work(&mut self, task: Task, memory: &mut Memory<'_>) -> Option<Task> {
        match task.work {
            Work::Accept(listener) => self.work_accept(task, listener),
            Work::Recv => self.work_recv(task, memory),
            Work::Send { .. } => self.work_send(task, memory),
            Work::Writable => {
                let ready = self.rng.chance(self.faults.cancelled)
                    || task.tenant.is_none_or(|link| self.links[link].is_writable());
                if ready {
                    self.end(task, Ok(0));
                    return None;
                }
                Some(task)
            }
            Work::Read { ref file, at, ready } => {
                if ready > self.now {
                    return Some(task);
                }
                let result = if self.rng.chance(self.faults.read_error) {
                    Err(Errno::IO)
                } else {
                    let short = self.rng.chance(self.faults.short_read);
                    match memory.target(task.id) {
                        Some(target) => {
                            let len =
                                if short { self.rng.below(target.len() + 1).max(1) } else { target.len() };
                            read_runs(file, at, target.runs_mut(0, len)).map(|n| n as u32)
                        }
                        None => Err(Errno::FAULT),
                    }
                };
                self.end(task, result);
                None
            }
            Work::RecvFrom(at) => self.work_recv_from(task, at, memory),
            Work::Look { look, ref dir, ref path, ready } => {
                if ready > self.now {
                    return Some(task);
                }
                let result = if self.rng.chance(self.faults.open_error) {
                    let errors = [Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::IO];
                    Err(errors[self.rng.below(errors.len())])
                } else {
                    match look {
                        Look::Open => dir.open_below(path).map(Answer::File),
                        Look::Stat => dir.look_below(path).map(Answer::Stat),
                    }
                };
                let result = result.map(|found| {
                    // A number of its own: the process's descriptors differ between two runs of a
                    // seed.
                    self.kernel.answers.push((task.id, found));
                    0
                });
                self.end(task, result);
                None
            }
            Work::Wake(ref waker) => {
                if waker.take() || self.rng.chance(self.faults.spurious_wake) {
                    self.end(task, Ok(8));
                    return None;
                }
                Some(task)
            }
            // These ended when they started.
            Work::Adopt
            | Work::SendTo
            | Work::Peer { .. }
            | Work::SetOpt(_)
            | Work::Unacked
            | Work::Shutdown
            | Work::Close
            | Work::Cancel(_)
            | Work::CancelSlot
            | Work::CancelAll => Some(task),
        }
    }

    fn work_accept(&mut self, mut task: Task, listener: Key) -> Option<Task> {
        if self.rng.chance(self.faults.cancelled) {
            self.end(task, Err(Errno::CANCELED));
            return None;
        }
        while let Some(link) = self.backlog(listener).pop_front() {
            if self.rng.chance(self.faults.accept_error) {
                let errors = [Errno::CONNABORTED, Errno::MFILE, Errno::NOMEM];
                let errno = errors[self.rng.below(errors.len())];
                if errno == Errno::CONNABORTED {
                    self.with_link(link, |link, _| link.break_off());
                } else {
                    self.backlog(listener).push_front(link);
                }
                self.end(task, Err(errno));
                return None;
            }
            let Some(place) = self.take_in(link) else {
                // io_uring takes the connection first and finds no place afterwards: the connection
                // is lost.
                self.end(task, Err(Errno::NFILE));
                return None;
            };
            if self.rng.chance(self.faults.end_multishot) {
                self.end(task, Ok(place));
                return None;
            }
            self.post(&mut task, Ok(place), None, true);
        }
        Some(task)
    }

    /// Gives the next connection that was passed its place. Whatever happens it leaves the queue,
    /// as its descriptor is closed.
    pub(super) fn adopt(&mut self, id: EntryId) -> Result<u32, Errno> {
        let link = self.backlog(PASSED).pop_front().ok_or(Errno::BADF)?;
        let place = self.take_in(link).ok_or(Errno::NFILE)?;
        self.kernel.answers.push((id, Answer::Place(place)));
        Ok(1)
    }

    /// Gives a connection its place in the file table. Without one it is closed.
    fn take_in(&mut self, link: usize) -> Option<u32> {
        let free = self.kernel.table.iter().filter(|place| place.is_none()).count();
        if free == 0 || self.rng.chance(self.faults.no_file) {
            self.with_link(link, |link, clock| link.close(End::Server, clock));
            return None;
        }
        let nth = if self.rng.chance(self.faults.any_place) { self.rng.below(free) } else { 0 };
        let places = self.kernel.table.iter().enumerate();
        let place = places.filter(|(_, tenant)| tenant.is_none()).map(|(place, _)| place).nth(nth)?;
        self.kernel.table[place] = Some(link);
        Some(place as u32)
    }

    fn work_recv(&mut self, mut task: Task, memory: &mut Memory<'_>) -> Option<Task> {
        let Some(link) = task.tenant else {
            self.end(task, Err(Errno::BADF));
            return None;
        };
        if self.rng.chance(self.faults.cancelled) {
            self.end(task, Err(Errno::CANCELED));
            return None;
        }
        for _ in 0..RECEIVES_MAX {
            if self.rng.chance(self.faults.reset) {
                self.with_link(link, |link, _| link.break_off());
            }
            match self.with_link(link, |link, _| link.look(End::Server)) {
                Err(errno) => {
                    self.end(task, Err(errno));
                    return None;
                }
                Ok(Found::Nothing) => break,
                Ok(Found::Eof) => {
                    let slot = match self.rng.chance(self.faults.eof_with_slot) {
                        true => self.kernel.slots.pop_front(),
                        false => None,
                    };
                    self.post(&mut task, Ok(0), slot, false);
                    return None;
                }
                Ok(Found::Bytes(there)) => {
                    let starved = self.rng.chance(self.faults.no_buffers);
                    let slot = if starved { None } else { self.kernel.slots.pop_front() };
                    let Some(slot) = slot else {
                        self.end(task, Err(Errno::NOBUFS));
                        return None;
                    };
                    let whole = there.min(self.kernel.rx_len);
                    let len =
                        if self.rng.chance(self.faults.cut) { 1 + self.rng.below(whole) } else { whole };
                    let mut taken = None;
                    self.with_link(link, |link, _| {
                        link.read(End::Server, |bytes| {
                            taken = memory.fill(slot, &bytes[..len.min(bytes.len())]);
                            taken.unwrap_or(0)
                        })
                    });
                    let Some(taken) = taken else {
                        self.blame("a receive slot was published that was not free");
                        self.end(task, Err(Errno::FAULT));
                        return None;
                    };
                    self.room_for_peer(link);
                    let more = !self.rng.chance(self.faults.end_multishot);
                    self.post(&mut task, Ok(taken as u32), Some(slot), more);
                    if !more {
                        return None;
                    }
                }
            }
        }
        Some(task)
    }

    fn work_send(&mut self, mut task: Task, memory: &mut Memory<'_>) -> Option<Task> {
        let Work::Send { mut done, whole, record } = task.work else { return Some(task) };
        let Some((link, (buf, offset))) = task.tenant.zip(memory.source(task.id)) else {
            self.end(task, Err(Errno::BADF));
            return None;
        };
        let sealed = matches!(self.links[link].tls, Tls::Sealed { .. });
        let failed = if whole && !matches!(self.links[link].tls, Tls::No) {
            self.blame("MSG_WAITALL on a socket with TLS");
            Some(Errno::OPNOTSUPP)
        } else if self.rng.chance(self.faults.cancelled) {
            Some(Errno::CANCELED)
        } else if self.rng.chance(self.faults.reset) {
            self.with_link(link, |link, _| link.break_off());
            Some([Errno::PIPE, Errno::CONNRESET][self.rng.below(2)])
        } else {
            None
        };
        let mut end = failed.map(Err);
        let total = buf.wanted(offset);
        if end.is_none() {
            // A record of its own type is one send: half of an alert would be an alert of one byte.
            let short = record.is_none() && self.rng.chance(self.faults.short_send);
            let limit = match short {
                true => total.min(done + 1 + self.rng.below(total.saturating_sub(done))),
                false => total,
            };
            let mut skip = offset + done;
            if sealed {
                end = self.seal_some(link, buf, offset, limit, &mut done, record);
            } else {
                buf.each(|bytes| {
                    let from = skip.min(bytes.len());
                    skip -= from;
                    let rest = &bytes[from..];
                    let rest = &rest[..rest.len().min(limit.saturating_sub(done))];
                    if rest.is_empty() || end.is_some() {
                        return;
                    }
                    match self.with_link(link, |link, clock| link.write(End::Server, rest, clock)) {
                        Ok(n) => {
                            done += n;
                            if n < rest.len() {
                                end = Some(Err(Errno::AGAIN));
                            }
                        }
                        Err(errno) => end = Some(Err(errno)),
                    }
                });
            }
            if end.is_none() {
                // The kernel never ends a send that it has accepted with nothing to show for it.
                end = (done > 0 || total == 0).then_some(Ok(()));
            }
        }
        task.work = Work::Send { done, whole, record };
        match end {
            None | Some(Err(Errno::AGAIN)) => Some(task),
            Some(Err(errno)) if done == 0 => {
                self.end(task, Err(errno));
                None
            }
            // What was achieved is reported, and the error by the next operation.
            Some(_) => {
                self.end(task, Ok(done as u32));
                None
            }
        }
    }

    /// Seals a part of a send, record by record, as long as nothing waits for room. What became of
    /// it, if it has to end or wait.
    fn seal_some(
        &mut self,
        link: usize,
        buf: &SendBuf,
        offset: usize,
        limit: usize,
        done: &mut usize,
        record: Option<u8>,
    ) -> Option<Result<(), Errno>> {
        let mut plain = Vec::new();
        buf.each(|bytes| plain.extend_from_slice(bytes));
        let plain = plain.get(offset..).unwrap_or_default();
        self.with_link(link, |link, clock| {
            while *done < limit {
                if let Err(errno) = link.write(End::Server, &[], clock) {
                    return Some(Err(errno));
                }
                // Room for a byte is room for a record: what TCP does not take then waits, and the
                // send is over all the same.
                if !link.has_room() {
                    return Some(Err(Errno::AGAIN));
                }
                let len = (limit - *done).min(RECORD_MAX);
                link.seal(record.unwrap_or(APPLICATION_DATA), &plain[*done..*done + len], clock);
                *done += len;
            }
            None
        })
    }

    fn room_for_peer(&mut self, link: usize) {
        let Some(Link { wants_room, watcher, .. }) = self.links.get_mut(link) else { return };
        if std::mem::take(wants_room) {
            let watcher = *watcher;
            self.alert(watcher);
        }
    }
}
