//! Child processes: bounded in time, their output shown while it comes and read line by line.

use std::env;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// A longer line is handed on in pieces.
const LINE_BYTES_MAX: u64 = 64 * 1024;
const LINES_WAITING_MAX: usize = 1024;
const POLL: Duration = Duration::from_millis(100);
/// How long a child may take to stop when asked, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How long to wait for output after the child's end: a grandchild left behind may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// The `cargo` that started this task, in the workspace's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Children write to a pipe and would drop their colours, though a person is reading.
    if env::var_os("CARGO_TERM_COLOR").is_none() && io::stdout().is_terminal() && io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

/// Runs a command to its end, showing its output as it comes; `on_line` sees each line of both streams, uncoloured.
/// Anything but success within `limit` is an error that names the command.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<(), String> {
    println!("$ {}", shown(command));
    drive(command, limit, |stream, line| {
        // A closed terminal must not stop the run: its result is the exit status.
        let _ = match stream {
            Stream::Out => io::stdout().write_all(line),
            Stream::Err => io::stderr().write_all(line),
        };
        on_line(&without_colour(&String::from_utf8_lossy(line)));
    })
}

/// Runs a command in silence and returns its standard output. An error carries its standard error.
pub(crate) fn capture(command: &mut Command, limit: Duration) -> Result<String, String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    drive(command, limit, |stream, line| match stream {
        Stream::Out => out.extend_from_slice(line),
        Stream::Err => err.extend_from_slice(line),
    })
    .map_err(|message| format!("{message}\n{}", String::from_utf8_lossy(&err).trim_end()))?;
    String::from_utf8(out).map_err(|_| format!("`{}` did not write UTF-8", shown(command)))
}

/// The command as a person would type it, without its environment.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

type Line = (Stream, Vec<u8>);

fn drive(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(Stream, &[u8]),
) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", shown(command)))?;
    let lines = output_of(&mut child);
    let deadline = Instant::now() + limit;
    let status = loop {
        receive(&lines, POLL, &mut on_line);
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() >= deadline {
            stop(&mut child);
            return Err(format!(
                "`{}` was stopped: it took longer than {} s",
                shown(command),
                limit.as_secs()
            ));
        }
    };
    let drained = Instant::now() + DRAIN;
    while Instant::now() < drained && receive(&lines, POLL, &mut on_line) {}
    ended(command, status)
}

fn ended(command: &Command, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(command))) }
}

/// Hands on one line, if one comes in time. False when both streams are closed.
fn receive(lines: &Receiver<Line>, wait: Duration, on_line: &mut impl FnMut(Stream, &[u8])) -> bool {
    match lines.recv_timeout(wait) {
        Ok((stream, line)) => on_line(stream, &line),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => {
            // The child closed its streams and works on: don't spin.
            thread::sleep(wait);
            return false;
        }
    }
    true
}

fn output_of(child: &mut Child) -> Receiver<Line> {
    let (to, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
    if let Some(out) = child.stdout.take() {
        pump(out, Stream::Out, to.clone());
    }
    if let Some(err) = child.stderr.take() {
        pump(err, Stream::Err, to);
    }
    lines
}

fn pump(from: impl Read + Send + 'static, stream: Stream, to: SyncSender<Line>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if to.send((stream, line)).is_err() => return,
                Ok(_) => {}
            }
        }
    });
}

/// Asks the child to stop, so that it can stop its own children, and kills it if it does not.
fn stop(child: &mut Child) {
    // The shell's own `kill`: the program of that name is missing from small systems.
    let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    let deadline = Instant::now() + STOP_GRACE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Removes the escape sequences that colour a terminal: ESC, `[`, parameters, one letter.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_streams_are_read_to_the_last_line() {
        let mut seen = Vec::new();
        run(&mut shell("printf 'a\\nlast'; echo b >&2"), LONG, |line| seen.push(line.trim().to_owned()))
            .unwrap();
        seen.sort();
        assert_eq!(seen, ["a", "b", "last"]);
    }

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let message = run(&mut shell("exit 3"), LONG, |_| {}).unwrap_err();
        assert_eq!(message, "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn a_captured_failure_carries_standard_error() {
        let message = capture(&mut shell("echo why >&2; exit 1"), LONG).unwrap_err();
        assert!(message.ends_with("\nwhy"), "{message}");
        assert_eq!(capture(&mut shell("echo out; echo noise >&2"), LONG).unwrap(), "out\n");
    }

    #[test]
    fn a_command_over_its_limit_is_stopped() {
        let begun = Instant::now();
        let message = run(&mut shell("exec sleep 600"), Duration::ZERO, |_| {}).unwrap_err();
        assert!(message.contains("took longer"), "{message}");
        assert!(begun.elapsed() < STOP_GRACE, "the child did not stop when asked");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_up_the_run() {
        let begun = Instant::now();
        let mut grandchild = String::new();
        run(&mut shell("sleep 600 & echo $!"), LONG, |line| grandchild.push_str(line)).unwrap();
        assert!(begun.elapsed() < LONG);
        run(&mut shell(&format!("kill {}", grandchild.trim())), LONG, |_| {}).unwrap();
    }

    #[test]
    fn colours_are_removed_and_text_stays() {
        assert_eq!(without_colour("\u{1b}[32;1m  Summary\u{1b}[0m [1s] é"), "  Summary [1s] é");
    }
}
