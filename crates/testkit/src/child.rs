//! Processes: a test binary starts itself again, with a role.
//!
//! The child is the same binary, told to run only its `testkit_child` test, which [`run`]s the role that the
//! environment names. Parent and child talk in lines, over the child's standard input and output. A child
//! dies with the [`Child`] that started it, and also if the test process itself is killed, because it then
//! reads the end of its input.

use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::server;
use crate::wait::PATIENCE;

/// The test that every role runs as.
const ENTRY_POINT: &str = "testkit_child";
const ROLE: &str = "TESTKIT_ROLE";
const ARGUMENT: &str = "TESTKIT_ARGUMENT_";
/// Marks the lines that are meant for the parent among those of the test harness.
const MARK: &str = "@testkit ";

/// What a process does instead of the tests.
pub type Role = fn(&Parent);

/// A process that this one started. Killed and reaped on drop.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    role: String,
    /// Where its program lies, if it is not our own file.
    _program: Option<TempDir>,
}

impl Child {
    /// Starts this very binary in a role, with named arguments that it finds by [`Parent::argument`].
    pub fn start(role: &str, arguments: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(env::current_exe().expect("the test binary")), role, arguments, None)
    }

    /// The same as another user, with one group and no supplementary ones; for this root is needed.
    pub fn start_as(uid: u32, gid: u32, role: &str, arguments: &[(&str, &str)]) -> Self {
        // The binary may lie where that user cannot go.
        let dir = open_dir();
        let program = dir.path().join("program");
        fs::copy(env::current_exe().expect("the test binary"), &program).expect("room for a copy");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("a file of ours");
        let mut command = Command::new(program);
        command.uid(uid).gid(gid).current_dir(dir.path());
        Self::spawn(command, role, arguments, Some(dir))
    }

    fn spawn(mut command: Command, role: &str, arguments: &[(&str, &str)], program: Option<TempDir>) -> Self {
        command.args([ENTRY_POINT, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role);
        command.envs(arguments.iter().map(|(name, value)| (format!("{ARGUMENT}{name}"), value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = loop {
            match command.spawn() {
                // A process that another thread started just now still holds the copy open for writing.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    thread::sleep(Duration::from_millis(5));
                }
                outcome => break outcome.expect("the test binary starts again"),
            }
        };
        let (output, input) = (process.stdout.take().expect("piped"), process.stdin.take());
        let (sender, lines) = mpsc::channel();
        // Reads to the end whether anybody listens or not: a child never blocks on its output.
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(MARK) {
                    let _ = sender.send(said.to_owned());
                }
            }
        });
        Self { process, input, lines, reader: Some(reader), role: role.to_owned(), _program: program }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next line that the child says, which must begin with `word`; returns what follows.
    ///
    /// # Panics
    /// If it says something else, or nothing within [`PATIENCE`].
    #[track_caller]
    pub fn expect(&self, word: &str) -> String {
        let said = self.lines.recv_timeout(PATIENCE);
        let said = said.unwrap_or_else(|error| panic!("{} did not say {word:?}: {error}", self.role));
        let rest = said.strip_prefix(word);
        rest.unwrap_or_else(|| panic!("{} said {said:?} instead of {word:?}", self.role)).trim().to_owned()
    }

    /// Says a line to the child, which finds it by [`Parent::hear`].
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until the drop");
        writeln!(input, "{line}").expect("the child listens");
    }

    /// Kills it at whatever instruction it is (SIGKILL), and returns at once.
    pub fn kill(&mut self) {
        self.process.kill().expect("a child of ours");
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn finish(mut self) {
        let status = self.process.wait().expect("a child of ours");
        assert!(status.success(), "{}: {status}", self.role);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop(self.input.take());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A folder that every user may enter.
///
/// # Panics
/// If there is no room for one.
pub fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a folder of ours");
    dir
}

/// Whether processes of other users can be started here; says so if not.
///
/// # Panics
/// If there is no room for a folder.
pub fn may_start_as_others() -> bool {
    // What a process makes belongs to its effective user.
    let root = open_dir().path().metadata().expect("a folder of ours").uid() == 0;
    if !root {
        println!("skipped: only root can start processes of other users");
    }
    root
}

/// A folder that another user may write to, in one that every user may enter; for this root is needed.
///
/// # Panics
/// If there is no room for one.
pub fn dir_of(uid: u32, gid: u32) -> (TempDir, PathBuf) {
    let dir = open_dir();
    let folder = dir.path().join("theirs");
    fs::create_dir(&folder).expect("a folder of ours");
    chown(&folder, Some(uid), Some(gid)).expect("root gives it away");
    (dir, folder)
}

/// The process that started this one, as a role sees it.
#[derive(Debug)]
pub struct Parent {
    heard: Receiver<String>,
}

impl Parent {
    /// The argument of that name.
    ///
    /// # Panics
    /// If the parent gave none.
    #[track_caller]
    pub fn argument(&self, name: &str) -> String {
        env::var(format!("{ARGUMENT}{name}")).unwrap_or_else(|_| panic!("no argument {name}"))
    }

    /// Says a line to the parent.
    pub fn say(&self, line: &str) {
        let mut output = std::io::stdout().lock();
        // The harness may be in the middle of a line. A parent that is gone needs no answer.
        let _ = writeln!(output, "\n{MARK}{line}").and_then(|()| output.flush());
    }

    /// Waits for the next line that the parent says.
    pub fn hear(&self) -> String {
        // The reader ends the process before it drops its end.
        self.heard.recv().expect("the reader lives as long as the process")
    }
}

/// Runs the role that the environment names, one of `roles` or `server`; does nothing in a run of the tests
/// themselves.
///
/// # Panics
/// If there is no such role.
pub fn run(roles: &[(&str, Role)]) {
    let Ok(wanted) = env::var(ROLE) else { return };
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        // The parent is gone.
        std::process::exit(3);
    });
    let parent = Parent { heard };
    if wanted == server::ROLE {
        return server::role(&parent);
    }
    let role = roles.iter().find(|(name, _)| *name == wanted);
    let (_, role) = role.unwrap_or_else(|| panic!("no role {wanted}"));
    role(&parent);
}
