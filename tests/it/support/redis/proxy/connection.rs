use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::resp::{is_message, message_length};
use super::{Mode, Shared};

/// Messages on their way in one direction; more stay in the sender's buffers.
const ON_THE_WAY: usize = 1024;

/// What opens a connection; it works also where everything else fails.
const OPENING: [&str; 4] = ["HELLO", "AUTH", "CLIENT", "SELECT"];

/// A message, and when it arrives.
type Later = (Instant, Vec<u8>);

/// One connection through the proxy, message by message.
pub struct Connection {
    shared: Arc<Shared>,
    tally: watch::Sender<Tally>,
}

#[derive(Default)]
struct Tally {
    commands: u64,
    answers: u64,
    /// The answer that does not arrive.
    cut: Option<u64>,
}

impl Connection {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tally: watch::Sender::default() }
    }

    /// Passes everything both ways until one end closes, or an answer is cut.
    pub async fn pass(&self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let to_client = Mutex::new(to_client);
        let (commands, commands_come) = mpsc::channel(ON_THE_WAY);
        let (answers, answers_come) = mpsc::channel(ON_THE_WAY);
        tokio::select! {
            never = self.read(from_client, commands) => match never {},
            never = self.read(from_server, answers) => match never {},
            end = self.carry_commands(commands_come, to_server, &to_client) => end,
            end = self.carry_answers(answers_come, &to_client) => end,
        }
    }

    /// Reads whole messages; each gets the time at which it arrives, in order. What is on its way at the end arrives too.
    async fn read(&self, mut from: OwnedReadHalf, on: mpsc::Sender<Later>) -> Infallible {
        let (mut buffer, mut last, mut is_protocol) = (Vec::new(), Instant::now(), None);
        while from.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
            let is_protocol = *is_protocol.get_or_insert_with(|| is_message(buffer[0]));
            let next = |buffer: &[u8]| if is_protocol { message_length(buffer) } else { Some(buffer.len()) };
            while let Some(length) = next(&buffer).filter(|length| *length > 0) {
                last = last.max(Instant::now() + self.delay());
                drop(on.send((last, buffer.drain(..length).collect())).await);
            }
        }
        drop(on);
        pending().await
    }

    fn delay(&self) -> Duration {
        let Mode::Delay { by, jitter } = *self.shared.mode.borrow() else { return Duration::ZERO };
        by + jitter.mul_f64(rand::random())
    }

    /// Waits until a message of this direction may pass; the mode in which it does.
    async fn passage(&self, (at, message): &Later, holds: fn(&Mode) -> bool) -> Mode {
        sleep_until(*at).await;
        let mut modes = self.shared.mode.subscribe();
        let mode = modes.wait_for(|mode| !holds(mode)).await.expect("the sender is shared").clone();
        if let Mode::Throttle { bytes_per_second } = mode {
            sleep(Duration::from_secs_f64(message.len() as f64 / f64::from(bytes_per_second))).await;
        }
        mode
    }

    async fn carry_commands(
        &self,
        mut come: mpsc::Receiver<Later>,
        mut to_server: OwnedWriteHalf,
        to_client: &Mutex<OwnedWriteHalf>,
    ) -> io::Result<()> {
        while let Some(command) = come.recv().await {
            let mode = self.passage(&command, |mode| *mode == Mode::Blackhole).await;
            let (_, command) = command;
            let name = name(&command);
            *self.shared.commands.lock().unwrap().entry(name.clone()).or_default() += 1;
            if let Mode::Say(error) = &mode
                && !OPENING.contains(&name.as_str())
            {
                self.all_answered().await;
                to_client.lock().await.write_all(format!("-{error}\r\n").as_bytes()).await?;
                continue;
            }
            let loses = matches!(&mode, Mode::CutAnswerTo { part } if contains(&command, part));
            let cut = loses && self.shared.only_once(&mode);
            self.tally.send_modify(|tally| {
                tally.commands += 1;
                tally.cut = tally.cut.or(cut.then_some(tally.commands));
            });
            to_server.write_all(&command).await?;
        }
        Ok(())
    }

    async fn all_answered(&self) {
        let mut tally = self.tally.subscribe();
        drop(tally.wait_for(|tally| tally.answers >= tally.commands).await);
    }

    async fn carry_answers(
        &self,
        mut come: mpsc::Receiver<Later>,
        to_client: &Mutex<OwnedWriteHalf>,
    ) -> io::Result<()> {
        while let Some(answer) = come.recv().await {
            let mode = self.passage(&answer, |mode| matches!(mode, Mode::Blackhole | Mode::Mute)).await;
            let (_, answer) = answer;
            // A push (RESP3) answers nothing.
            let is_answer = answer[0] != b'>';
            self.tally.send_modify(|tally| tally.answers += u64::from(is_answer));
            if is_answer && self.tally.borrow().cut == Some(self.tally.borrow().answers) {
                return Ok(());
            }
            let mut to_client = to_client.lock().await;
            if let Mode::CutNextAnswer { after } = mode
                && is_answer
                && self.shared.only_once(&mode)
            {
                return to_client.write_all(&answer[..after.min(answer.len())]).await;
            }
            to_client.write_all(&answer).await?;
        }
        Ok(())
    }
}

impl Shared {
    /// Whether nobody else has done yet what this mode does once.
    fn only_once(&self, mode: &Mode) -> bool {
        self.mode.send_if_modified(|current| {
            let is_first = current == mode;
            if is_first {
                *current = Mode::Pass;
            }
            is_first
        })
    }
}

/// The name in `*2\r\n$3\r\nGET\r\n…`.
fn name(command: &[u8]) -> String {
    let word = command.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    String::from_utf8_lossy(word).trim_end().to_uppercase()
}

fn contains(command: &[u8], part: &str) -> bool {
    command.windows(part.len().max(1)).any(|window| window == part.as_bytes())
}
