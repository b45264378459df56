//! What is said on a connection, which is always being used by many: questions go out as they come, answers come back in
//! their order.
//!
//! A task of its own owns the socket, so a caller that is dropped takes nothing with it: its answer is read when its
//! turn comes, and dropped. That is the difference to clients that are borrowed by one caller at a time, which must
//! throw the connection away then, or else give the answer to whoever comes next.

use std::{collections::VecDeque, io, time::Duration};

use cloakroom::store::others_first;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    meta::{Expects, Request, Response},
    server::{Failure, Job},
};

/// A server that leaves a question open for so long is taken for lost, and the connection for dead.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// A connection on which nothing was heard for so long is asked for a sign of life.
const QUIET_MAX: Duration = Duration::from_secs(20);
/// Questions that may be open, and bytes that may wait to be sent, before no more are taken.
const OPEN_MAX: usize = 1_024;
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// Room that an empty buffer keeps.
const BUFFER_BYTES: usize = 64 * 1024;
/// Room for what comes next. A buffer grows by itself only when it is full, and each answer would be read alone.
const READ_BYTES: usize = 16 * 1024;

/// What is under way on one connection.
pub(crate) struct Conversation {
    /// Which connection it is, counted from the first one to this server.
    number: u64,
    prefix: String,
    /// The number of the next question. They begin at another one on each connection.
    asked: u32,
    /// When something was last heard.
    heard: Instant,
    pub(crate) has_answered: bool,
    open: VecDeque<Open>,
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

/// A question that was sent.
struct Open {
    expects: Expects,
    since: Instant,
    answer: oneshot::Sender<Result<Response, Failure>>,
}

impl Conversation {
    pub(crate) fn new(number: u64, prefix: &str) -> Self {
        Self {
            number,
            prefix: prefix.to_owned(),
            asked: u32::from_be_bytes([number.to_le_bytes()[0], 0, 0, 0]),
            heard: Instant::now(),
            has_answered: false,
            open: VecDeque::new(),
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
        }
    }

    /// Asks and answers until the connection breaks. Ends well when the store was closed, or dropped, and everything
    /// is answered.
    pub(crate) async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        jobs: &mut mpsc::Receiver<Job>,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let mut watch = interval(WATCH_PERIOD);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_gathering, mut is_closing, mut has_ended) = (false, false, false);
        let broken = |error: io::Error| Failure::passing(format!("the connection broke: {error}"));
        while !(has_ended && self.open.is_empty()) {
            if std::mem::take(&mut is_gathering) {
                // They may have questions to add, which cost little beside the packet they are in.
                others_first().await;
                self.take(jobs);
            }
            self.input.reserve(READ_BYTES);
            tokio::select! {
                job = jobs.recv(), if !has_ended && self.has_room() => match job {
                    Some(job) => {
                        self.ask(job, Instant::now());
                        is_gathering = true;
                    }
                    None => has_ended = true,
                },
                sent = writer.write(&self.output[self.sent..]), if self.sent < self.output.len() => {
                    self.sent(sent.map_err(broken)?);
                }
                read = reader.read_buf(&mut self.input) => {
                    if read.map_err(broken)? == 0 {
                        return Err(Failure::passing("it closed the connection"));
                    }
                    self.heard = Instant::now();
                    self.answer()?;
                }
                _ = watch.tick() => self.check()?,
                // What waits is still served; nothing more is let in.
                _ = closing.wait_for(|is_closing| *is_closing), if !is_closing => {
                    is_closing = true;
                    jobs.close();
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.open.len() < OPEN_MAX && self.output.len() - self.sent < UNSENT_BYTES_MAX
    }

    /// Takes all questions that wait: they go out in one packet.
    fn take(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        let now = Instant::now();
        while self.has_room()
            && let Ok(job) = jobs.try_recv()
        {
            self.ask(job, now);
        }
    }

    fn ask(&mut self, Job { request, answer }: Job, now: Instant) {
        if !request.suits(self.number) {
            let _ = answer.send(Ok(Response::Exists));
        } else if !answer.is_closed() {
            // Who has gone before the question was sent needs no answer.
            self.write(&request, answer, now);
        }
    }

    fn write(&mut self, request: &Request, answer: oneshot::Sender<Result<Response, Failure>>, now: Instant) {
        let expects = request.write(&self.prefix, self.asked, &mut self.output);
        self.asked = self.asked.wrapping_add(1);
        self.open.push_back(Open { expects, since: now, answer });
    }

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(BUFFER_BYTES);
            self.sent = 0;
        } else if self.sent >= UNSENT_BYTES_MAX {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Hands out the answers that have come whole.
    fn answer(&mut self) -> Result<(), Failure> {
        let mut read = 0;
        while read < self.input.len() {
            let Some(open) = self.open.front() else {
                return Err(Failure::passing("it answers what it wasn't asked"));
            };
            match open.expects.read(&self.input[read..]) {
                Ok(Some((response, length))) => {
                    read += length;
                    self.has_answered = true;
                    if let Some(open) = self.open.pop_front() {
                        // Nobody there: the caller has gone, and the answer goes nowhere.
                        let _ = open.answer.send(Ok(response));
                    }
                }
                Ok(None) => break,
                Err(garbled) => {
                    return Err(Failure::passing(format!("its answer is none: {}", garbled.0)));
                }
            }
        }
        self.input.drain(..read);
        if self.input.is_empty() {
            self.input.shrink_to(BUFFER_BYTES);
        }
        Ok(())
    }

    /// Asks for nothing where nothing was asked for long: what lies between may have forgotten the connection.
    fn check(&mut self) -> Result<(), Failure> {
        match self.open.front() {
            Some(open) if open.since.elapsed() > ANSWER_MAX => Err(Failure::late("answer", ANSWER_MAX)),
            Some(_) => Ok(()),
            None if self.heard.elapsed() < QUIET_MAX => Ok(()),
            None => {
                self.write(&Request::Nothing, oneshot::channel().0, Instant::now());
                Ok(())
            }
        }
    }

    /// Tells everybody whose answer won't come.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        for open in self.open.drain(..) {
            let _ = open.answer.send(Err(failure.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll},
    };

    use cloakroom::SessionId;
    use parking_lot::Mutex;

    use super::*;
    use crate::{
        key::Key,
        meta::{If, Number},
    };

    /// The bug: between reading a subject's state and storing the next one, the server could be restarted and the connection
    /// made anew; numbers count from one then, and what another process had stored meanwhile could have the very number
    /// that was read. It was overwritten, and sessions that had ended were back. The mend: a number that was learnt before
    /// the connection was made is no condition on it.
    #[test]
    fn a_number_from_before_the_connection_was_made_is_refused_unsent() {
        for (connected, is_sent) in [(1, false), (2, true), (3, true)] {
            let mut conversation = Conversation::new(2, "");
            let (answer, mut answered) = oneshot::channel();
            let condition = If::Unchanged(Number { cas: 57, connected });
            let key = Key::Session(SessionId::from_bytes([7; 16]));
            let request = Request::Set { key, value: b"value".into(), ttl: 60, condition };
            let job = Job { request, answer };
            conversation.ask(job, Instant::now());
            assert_eq!(conversation.output.is_empty(), !is_sent);
            assert_eq!(matches!(answered.try_recv(), Ok(Ok(Response::Exists))), !is_sent);
        }
    }

    /// The bug: whoever asked first woke the connection, which ran before all others and sent a packet of one question; and
    /// its buffer was as small as one answer, so each was read alone. The mend: those who are ready to run are let through
    /// first, and there is room for many answers.
    #[test]
    fn questions_of_one_moment_are_one_packet_and_answers_are_read_together() {
        // One worker: who is woken last by it runs next.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let talk = runtime.spawn(async {
            let (sender, mut jobs) = mpsc::channel(10);
            let (mut answers, reader) = tokio::io::duplex(4_096);
            let (writer, packets) = Packets::new();
            let talk = tokio::spawn(async move {
                let mut conversation = Conversation::new(1, "");
                let (_open, mut closing) = watch::channel(false);
                conversation.run(reader, writer, &mut jobs, &mut closing).await.map(|()| conversation)
            });
            let callers: Vec<_> = (0..10).map(|_| tokio::spawn(asked(sender.clone()))).collect();
            drop(sender);
            while packets.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(*packets.lock(), [40]);
            answers.write_all(&b"MN\r\n".repeat(10)).await.unwrap();
            for caller in callers {
                assert_eq!(caller.await.unwrap(), Response::Text("MN".to_owned()));
            }
            talk.await.unwrap().unwrap()
        });
        assert!(runtime.block_on(talk).unwrap().input.capacity() >= READ_BYTES);
    }

    async fn asked(jobs: mpsc::Sender<Job>) -> Response {
        let (answer, answered) = oneshot::channel();
        assert!(jobs.send(Job { request: Request::Nothing, answer }).await.is_ok());
        answered.await.unwrap().unwrap()
    }

    /// Notes how long each packet is.
    struct Packets(Arc<Mutex<Vec<usize>>>);

    impl Packets {
        fn new() -> (Self, Arc<Mutex<Vec<usize>>>) {
            let packets = Arc::default();
            (Self(Arc::clone(&packets)), packets)
        }
    }

    impl AsyncWrite for Packets {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, packet: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().push(packet.len());
            Poll::Ready(Ok(packet.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The bug: of a server that took part of what was sent, each time, all that it had taken was kept, without bound. The
    /// mend: what was sent is thrown away.
    #[test]
    fn what_was_sent_is_not_kept_while_more_is_to_be_sent() {
        let mut conversation = Conversation::new(1, "");
        let key = Key::Session(SessionId::from_bytes([7; 16]));
        for n in 0..1_000 {
            let request = Request::Set { key, value: vec![b'v'; 16_384], ttl: 60, condition: If::Free };
            conversation.write(&request, oneshot::channel().0, Instant::now());
            conversation.sent(conversation.output.len() - conversation.sent - 1);
            assert!(conversation.output.len() < 2 * UNSENT_BYTES_MAX, "after {n}");
            assert_eq!(conversation.output.last(), Some(&b'\n'));
        }
    }

    #[test]
    fn questions_wait_while_too_many_are_open() {
        let mut conversation = Conversation::new(1, "");
        let (sender, mut jobs) = mpsc::channel(OPEN_MAX + 1);
        let answers: Vec<_> = (0..=OPEN_MAX)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                assert!(sender.try_send(Job { request: Request::Nothing, answer }).is_ok());
                answered
            })
            .collect();
        conversation.take(&mut jobs);
        assert_eq!(conversation.open.len(), OPEN_MAX);
        conversation.input = b"MN\r\n".to_vec();
        conversation.answer().unwrap();
        conversation.take(&mut jobs);
        assert!(conversation.open.len() == OPEN_MAX && jobs.is_empty());
        // Until here somebody waits for each.
        drop(answers);
    }

    /// Each question has a number of its own, on this connection and beside the next one.
    #[test]
    fn an_answer_to_another_question_is_none() {
        let key = Key::Session(SessionId::from_bytes([7; 16]));
        let asked = |number: u64, connection| {
            let mut conversation = Conversation::new(connection, "");
            let (answer, mut answered) = oneshot::channel();
            conversation.write(&Request::Get(key), answer, Instant::now());
            conversation.write(&Request::Get(key), oneshot::channel().0, Instant::now());
            conversation.input = format!("VA 1 c5 O{number}\r\nx\r\n").into_bytes();
            conversation.answer().is_ok() && answered.try_recv().unwrap().is_ok()
        };
        let first = 1 << 24;
        assert!(asked(first, 1) && asked(2 * first, 2));
        assert!(!asked(first + 1, 1) && !asked(first, 2));
    }

    /// The bug: a connection that a firewall had forgotten was found dead only when somebody needed it, who then waited for
    /// all the time an answer may take. The mend: it is asked for a sign of life when it is quiet.
    #[test]
    fn a_quiet_connection_is_asked_for_a_sign_of_life() {
        let mut conversation = Conversation::new(1, "");
        conversation.check().unwrap();
        assert!(conversation.output.is_empty(), "it was heard of a moment ago");
        conversation.heard = Instant::now().checked_sub(QUIET_MAX).unwrap();
        conversation.check().unwrap();
        conversation.check().unwrap();
        assert_eq!(conversation.output, b"mn\r\n", "once, until it is answered");
        conversation.open[0].since = Instant::now().checked_sub(2 * ANSWER_MAX).unwrap();
        assert!(conversation.check().is_err());
    }
}
