//! An engine's process, and what can be done to it.

use std::{
    cmp::Reverse,
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    left_behind: PathBuf,
}

/// Far beyond what any engine takes to start on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Starts the engine beside itself, tells its process id, and waits for the pipe that the test holds to close: that
/// happens however the test ends, and then the engine ends too. If the test said nothing before, it wasn't there to tidy up.
/// Its children are killed with it: if the test had stopped them, they wouldn't notice.
const GUARD: &str = r#""$@" >>"$0" 2>&1 </dev/null & echo $!; exec >/dev/null; word=$(cat)
children=$(cat /proc/$!/task/$!/children 2>&-); kill -KILL $! $children 2>&-; wait
if [ -z "$word" ] && [ -n "$CLOAKROOM_LEFT_BEHIND" ]; then
    rm -rf "$CLOAKROOM_LEFT_BEHIND" || { sleep 2; rm -rf "$CLOAKROOM_LEFT_BEHIND"; }
fi"#;

impl Start {
    /// Starts this program; what it says goes to the file `log`.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), log: log.into(), left_behind: PathBuf::new() }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, |start, argument| start.arg(argument))
    }

    /// With a folder that is removed when the test ends without a word, as one does that shares an engine.
    #[must_use]
    pub fn leaving_behind(mut self, folder: impl Into<PathBuf>) -> Self {
        self.left_behind = folder.into();
        self
    }

    /// Starts it, and waits until `is_ready`.
    ///
    /// # Panics
    /// If it can't be started, or isn't ready in time: then with what it said.
    #[must_use]
    pub fn spawn(self, is_ready: impl FnMut() -> bool) -> Process {
        let (guard, pid) = self.guarded();
        let mut process = Process { start: self, guard, pid };
        process.wait_until(is_ready);
        process
    }

    fn guarded(&self) -> (Child, u32) {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&self.log)
            .arg(&self.program)
            .args(&self.arguments)
            .env("CLOAKROOM_LEFT_BEHIND", &self.left_behind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = guard.stdout.take().expect("it was piped");
        BufReader::new(stdout).read_line(&mut line).expect("the guard tells the engine's id");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("{:?} didn't start", self.program));
        (guard, pid)
    }
}

/// An engine that runs. It is killed at the end.
#[derive(Debug)]
pub struct Process {
    start: Start,
    guard: Child,
    pid: u32,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.start.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Stops it, and whatever it started, where it stands: connections stay open, and nothing answers.
    ///
    /// The signal is taken by one of the process's threads, when that runs next; all others go on until then.
    ///
    /// # Panics
    /// If they don't stop.
    pub fn hang(&self) {
        self.signal_all("STOP");
        let begun = Instant::now();
        while !descendants(self.pid).into_iter().chain([self.pid]).all(is_stopped) {
            assert!(begun.elapsed() < READY_MAX, "{:?} doesn't stop", self.start.program);
            thread::sleep(POLL);
        }
    }

    /// Lets it go on after [`Process::hang`].
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    /// Kills it, and whatever it started, without a chance to tidy up.
    pub fn kill(&mut self) {
        self.signal_all("KILL");
        if let Some(mut pipe) = self.guard.stdin.take() {
            let _ = pipe.write_all(b"killed");
        }
        let _ = self.guard.wait();
    }

    /// Starts it again after [`Process::kill`], with the files it left.
    pub fn restart(&mut self, is_ready: impl FnMut() -> bool) {
        (self.guard, self.pid) = self.start.guarded();
        self.wait_until(is_ready);
    }

    fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_ready() {
            let is_alive = PathBuf::from(format!("/proc/{}", self.pid)).exists();
            if !is_alive || begun.elapsed() > READY_MAX {
                self.kill();
                panic!("{:?} isn't ready; it said:\n{}", self.start.program, self.log());
            }
            thread::sleep(POLL);
        }
    }

    /// The parent first, so that it starts nothing meanwhile. Who its children are is asked before, too: those of one that
    /// was killed are another's, and if they were stopped they would stay for ever.
    fn signal_all(&self, signal: &str) {
        let before = descendants(self.pid);
        self.signal(signal, self.pid);
        for child in before.into_iter().chain(descendants(self.pid)) {
            self.signal(signal, child);
        }
    }

    fn signal(&self, signal: &str, pid: u32) {
        // The shell's own `kill`: the program of that name is missing from small systems.
        let kill = format!("kill -{signal} {pid} 2>&-");
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes that this one started, and those that they started.
fn descendants(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pairs: Vec<_> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(pairs.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        next += 1;
    }
    found.remove(0);
    found
}

fn parent(pid: u32) -> Option<u32> {
    field(Path::new(&format!("/proc/{pid}")), 1)?.parse().ok()
}

/// Whether none of its threads runs. One that has ended, or that is about to, does nothing either.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let mut states = threads.flatten().filter_map(|thread| field(&thread.path(), 0));
    states.all(|state| ["T", "Z", "X"].contains(&&*state))
}

/// Of those behind the name, which stands in brackets and may hold anything.
fn field(of: &Path, nth: usize) -> Option<String> {
    let mut stat = String::new();
    fs::File::open(of.join("stat")).ok()?.read_to_string(&mut stat).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(nth).map(str::to_owned)
}

/// A program that tests drive: named by a variable such as `CLOAKROOM_REDIS_SERVER`, or found on the path and in the
/// folders of the system.
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let variable = format!("CLOAKROOM_{}", name.to_uppercase().replace('-', "_"));
    env::var_os(&variable).map(PathBuf::from).or_else(|| find(name)).unwrap_or_else(|| {
        panic!("{name} is missing: `cargo xtask test` installs it, or {variable} says where it is")
    })
}

/// Where a program is. Servers live in the system's folders, which are not on every user's path.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = env::split_paths(&path).chain(system).chain(of_postgres());
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Debian keeps each version of PostgreSQL in a folder of its own; the newest first.
fn of_postgres() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut folders: Vec<_> = versions.flatten().map(|version| version.path()).collect();
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    folders.sort_by_key(|folder| Reverse(number(folder)));
    folders.into_iter().map(|folder| folder.join("bin")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: a server of many threads answered once more after it was stopped, for the thread that had to take the signal
    /// hadn't run yet. The mend: it is waited for.
    #[test]
    fn what_hangs_has_stopped() {
        let log = env::temp_dir().join(format!("cloakroom-stopped-{}", std::process::id()));
        // It waits long for its turn, so it is told to stop long before it does.
        let busy = Start::new("sh", &log)
            .args(["-c", "for n in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait"]);
        let others = busy.spawn(|| true);
        let process =
            Start::new("nice", &log).args(["-n", "19", "sh", "-c", "while :; do :; done"]).spawn(|| true);
        for _ in 0..3 {
            process.hang();
            assert!(is_stopped(process.pid()));
            process.resume();
        }
        drop(others);
        drop(process);
        let _ = fs::remove_file(log);
    }

    /// The bug: children were looked for after their parent was killed, when they were another's; those that had been
    /// stopped stayed for ever.
    #[test]
    fn stopped_children_are_killed_with_their_parent() {
        let log = env::temp_dir().join(format!("cloakroom-children-{}", std::process::id()));
        let start = Start::new("sh", &log).args(["-c", "sleep 1000 & sleep 1000 & wait"]);
        let mut process = start.spawn(|| true);
        let children = loop {
            let children = descendants(process.pid());
            if children.len() == 2 {
                break children;
            }
            thread::sleep(POLL);
        };
        process.hang();
        process.kill();
        let begun = Instant::now();
        // One that nobody has waited for yet is still in `/proc`, without its arguments.
        let is_left =
            |child: &u32| fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|line| !line.is_empty());
        while children.iter().any(is_left) {
            assert!(begun.elapsed() < READY_MAX, "{children:?} stay");
            thread::sleep(POLL);
        }
        let _ = fs::remove_file(log);
    }
}
