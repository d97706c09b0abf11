//! Questions and answers in both directions over one channel.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Channel, Limits, Message};

/// The most questions that wait for their answers.
const WAITING_MAX: usize = 64;

/// One end of a line. Every thread may ask; one thread [runs](Line::run) it.
#[derive(Debug)]
pub(crate) struct Line {
    channel: Channel,
    /// Held while a message is sent, so that no two mix.
    sending: Mutex<()>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The other end is gone.
    is_closed: bool,
    by_number: HashMap<u64, SyncSender<Message>>,
}

/// A question of the other end.
#[derive(Debug)]
pub(crate) struct Question {
    /// Its number, by which it is answered.
    pub(crate) number: u64,
    pub(crate) message: Message,
}

impl Question {
    /// Reads the first message, which comes before a line [runs](Line::run). `None`: it is no
    /// question.
    pub(crate) fn read(mut message: Message) -> Option<Question> {
        let number = message.value.get("ask")?.as_u64()?;
        message.value = message.value.get_mut("value").map(Value::take).unwrap_or_default();
        Some(Question { number, message })
    }
}

impl Line {
    pub(crate) fn new(channel: Channel) -> Line {
        Line { channel, sending: Mutex::default(), waiting: Mutex::default() }
    }

    /// Asks, and waits for the answer, for that long at most.
    ///
    /// # Errors
    /// The other end is gone (`BrokenPipe`) or does not answer in time (`TimedOut`), or the
    /// kernel's.
    pub(crate) fn ask(
        &self,
        question: &Value,
        blobs: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> io::Result<Message> {
        let (answer, answered) = sync_channel(1);
        let number = {
            let mut waiting = self.waiting();
            if waiting.is_closed {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if waiting.by_number.len() >= WAITING_MAX {
                return Err(io::Error::new(
                    ErrorKind::WouldBlock,
                    "too many questions wait for their answers",
                ));
            }
            waiting.next += 1;
            let number = waiting.next;
            waiting.by_number.insert(number, answer);
            number
        };
        let sent = self.send(&json!({ "ask": number, "value": question }), blobs, descriptors);
        let answer = sent.and_then(|()| {
            answered.recv_timeout(limit).map_err(|why| match why {
                RecvTimeoutError::Timeout => ErrorKind::TimedOut.into(),
                RecvTimeoutError::Disconnected => ErrorKind::BrokenPipe.into(),
            })
        });
        self.waiting().by_number.remove(&number);
        answer
    }

    /// Answers the question with that number.
    ///
    /// # Errors
    /// The other end is gone, or the kernel's.
    pub(crate) fn answer(
        &self,
        number: u64,
        answer: &Value,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send(&json!({ "answer": number, "value": answer }), &[], descriptors)
    }

    /// Receives until the other end is gone, be it in the midst of a message: answers go to those
    /// who have asked, questions to `answer`, which must not wait for anything of this line.
    ///
    /// # Errors
    /// What came is not understood, and nothing more is received.
    pub(crate) fn run(&self, limits: Limits, mut answer: impl FnMut(Question)) -> io::Result<()> {
        let ended = loop {
            let Message { mut value, blobs, descriptors } = match self.channel.receive(limits) {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                // A process that ends may have begun a message.
                Err(error) if is_end(&error) => break Ok(()),
                Err(error) => break Err(error),
            };
            let number = |name: &str| value.get(name).and_then(Value::as_u64);
            let (asked, answered) = (number("ask"), number("answer"));
            let value = value.get_mut("value").map(Value::take).unwrap_or_default();
            let message = Message { value, blobs, descriptors };
            match (asked, answered) {
                (Some(number), None) => answer(Question { number, message }),
                (None, Some(number)) => {
                    // The one who asked may have waited long enough.
                    if let Some(waiting) = self.waiting().by_number.remove(&number) {
                        let _ = waiting.try_send(message);
                    }
                }
                _ => break Err(super::invalid("a message is neither a question nor an answer")),
            }
        };
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.by_number.clear();
        ended
    }

    fn send(&self, value: &Value, blobs: &[&[u8]], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = self.channel.send(value, blobs, descriptors);
        let is_gone =
            |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        if sent.as_ref().is_err_and(|error| !is_gone(error)) {
            // A part of it may be there: what comes behind it would not be understood.
            self.channel.close();
        }
        sent
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn lines() -> (Arc<Line>, Arc<Line>) {
        let (one, other) = Channel::pair().unwrap();
        (Arc::new(Line::new(one)), Arc::new(Line::new(other)))
    }

    #[test]
    fn both_ends_ask_and_answers_come_in_any_order() {
        let (one, other) = lines();
        thread::scope(|scope| {
            scope.spawn(|| {
                one.run(Limits::OF_WORKER, |question| {
                    one.answer(question.number, &json!(["one", question.message.value]), &[]).unwrap();
                })
                .unwrap();
            });
            scope.spawn(|| {
                // The first of two waits until the second has been answered.
                let mut first = None;
                other
                    .run(Limits::OF_WORKER, |question| {
                        if question.message.value == json!("late") {
                            first = Some(question);
                            return;
                        }
                        other.answer(question.number, &question.message.value, &[]).unwrap();
                        if let Some(first) = first.take() {
                            other.answer(first.number, &json!("at last"), &[]).unwrap();
                        }
                    })
                    .unwrap();
            });
            let late = scope.spawn(|| one.ask(&json!("late"), &[], &[], PATIENCE).unwrap().value);
            let answer = other.ask(&json!(7), &[], &[], PATIENCE).unwrap().value;
            assert_eq!(answer, json!(["one", 7]));
            while !late.is_finished() {
                one.ask(&json!("soon"), &[], &[], PATIENCE).unwrap();
            }
            assert_eq!(late.join().unwrap(), json!("at last"));
            one.channel.close();
        });
    }

    #[test]
    fn the_end_of_a_line_ends_every_question() {
        let (one, other) = lines();
        let (asked, is_asked) = channel();
        thread::scope(|scope| {
            let asking = scope.spawn(|| one.ask(&json!(1), &[], &[], PATIENCE).unwrap_err().kind());
            scope.spawn(|| one.run(Limits::OF_WORKER, |_| ()).unwrap());
            scope.spawn(|| other.run(Limits::OF_WORKER, |_| asked.send(()).unwrap()).unwrap());
            is_asked.recv().unwrap();
            other.channel.close();
            assert_eq!(asking.join().unwrap(), ErrorKind::BrokenPipe);
        });
        assert_eq!(one.ask(&json!(2), &[], &[], PATIENCE).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_end_in_the_midst_of_a_message_is_an_end() {
        let (one, other) = lines();
        one.channel.send_bytes(&[9, 0, 0]).unwrap();
        drop(one);
        other.run(Limits::OF_WORKER, |_| panic!("a question")).unwrap();
        assert!(other.waiting().is_closed);
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (one, _other) = lines();
        let limit = Duration::from_millis(10);
        assert_eq!(one.ask(&json!(1), &[], &[], limit).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(one.waiting().by_number.is_empty());
    }
}
