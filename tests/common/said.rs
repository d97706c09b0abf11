//! What a program says, as far as it has been written.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, Mutex};

/// The output of a program, which is read all the time, so that no pipe is ever full.
///
/// Each look reads what is there first: what the program has written before something else is
/// seen of it, such as an answer, is there then.
#[derive(Clone)]
pub(crate) struct Said(Arc<Mutex<Output>>);

struct Output {
    streams: Vec<Stream>,
    /// Whole lines of all of them.
    lines: String,
}

struct Stream {
    /// `None`: it has ended.
    pipe: Option<Arc<OwnedFd>>,
    /// A line that is not whole yet.
    begun: Vec<u8>,
}

impl Said {
    /// Reads both outputs of a program, which are pipes.
    pub(crate) fn of(child: &mut Child) -> Said {
        let pipes: [OwnedFd; 2] = [child.stdout.take().unwrap().into(), child.stderr.take().unwrap().into()];
        let streams = pipes.into_iter().map(|pipe| {
            rustix::io::ioctl_fionbio(&pipe, true).unwrap();
            Stream { pipe: Some(Arc::new(pipe)), begun: Vec::new() }
        });
        let said = Said(Arc::new(Mutex::new(Output { streams: streams.collect(), lines: String::new() })));
        let read = said.clone();
        std::thread::spawn(move || read.go_on());
        said
    }

    /// Returns the lines until now.
    pub(crate) fn lines(&self) -> String {
        let mut output = self.0.lock().unwrap();
        output.read();
        output.lines.clone()
    }

    /// Reads until the end.
    fn go_on(&self) {
        loop {
            let mut pipes = Vec::new();
            {
                let mut output = self.0.lock().unwrap();
                output.read();
                pipes.extend(output.streams.iter().filter_map(|stream| stream.pipe.clone()));
            }
            if pipes.is_empty() {
                return;
            }
            let mut fds: Vec<PollFd<'_>> =
                pipes.iter().map(|pipe| PollFd::new(&**pipe, PollFlags::IN)).collect();
            // A failure is another look.
            let _ = poll(&mut fds, None);
        }
    }
}

impl Output {
    fn read(&mut self) {
        for Stream { pipe, begun } in &mut self.streams {
            let mut some = [0; 4096];
            while let Some(from) = pipe {
                match rustix::io::read(&**from, &mut some) {
                    Ok(0) => {
                        *pipe = None;
                        // Its last line may have no end.
                        if !begun.is_empty() {
                            begun.push(b'\n');
                        }
                    }
                    Ok(count) => begun.extend_from_slice(&some[..count]),
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => panic!("a pipe cannot be read: {errno}"),
                }
                let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                self.lines.push_str(&String::from_utf8_lossy(&begun[..whole]));
                begun.drain(..whole);
            }
        }
    }
}
