//! A server of the classic protocol by hand, as the published one speaks it: it says what its script says,
//! and lies when it is told to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use testkit::PATIENCE;

use crate::raw::{field, frame, varint};

/// Answers a ConnectRequest as the published server does: the id, and where the file is.
pub(crate) fn connected(id: &str, file: &str) -> Vec<u8> {
    frame(&[field(1, id.as_bytes()), field(2, file.as_bytes())].concat())
}

/// An RPCResponse: its size is always there, its error only if there is one.
pub(crate) fn response(id: &str, method: &str, size: u64, error: &str) -> Vec<u8> {
    let mut body = [field(1, id.as_bytes()), field(2, method.as_bytes()), vec![0x18], varint(size)].concat();
    if !error.is_empty() {
        body.extend(field(4, error.as_bytes()));
    }
    frame(&body)
}

/// What the script plays on: one accepted socket, and a file.
pub(crate) struct Stage {
    pub(crate) socket: UnixStream,
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Stage {
    /// The next frame as it came, with all that is around its body.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        self.try_frame().expect("the client sends a frame")
    }

    fn try_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 5];
        self.socket.read_exact(&mut bytes)?;
        let len = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes.resize(5 + len + 1, 0);
        self.socket.read_exact(&mut bytes[5..])?;
        Ok(bytes)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Takes the ConnectRequest and grants it.
    pub(crate) fn connect(&mut self, id: &str) {
        self.frame();
        let answer = connected(id, self.path.to_str().unwrap());
        self.send(&answer);
    }

    pub(crate) fn write(&self, message: &[u8]) {
        self.file.write_all_at(message, 0).unwrap();
    }

    pub(crate) fn read(&self, size: usize) -> Vec<u8> {
        let mut message = vec![0; size];
        self.file.read_exact_at(&mut message, 0).unwrap();
        message
    }

    /// Waits for the client to hang up, and returns what it sent before.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("the client hangs up: {error}"),
        }
    }
}

/// A server that plays a script on each socket that it accepts, one after the other.
pub(crate) struct Fake {
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Listens, and accepts as many sockets as there are scripts.
    pub(crate) fn play(scripts: Vec<Box<dyn FnOnce(Stage) + Send>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let folder = dir.path().to_owned();
        let thread = thread::spawn(move || {
            for (number, script) in scripts.into_iter().enumerate() {
                let (socket, _) = listener.accept().unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let path = folder.join(format!("{number}.mmap"));
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
                file.set_len(8 << 20).unwrap();
                script(Stage { socket, file, path });
            }
        });
        Self { dir, thread: Some(thread) }
    }

    /// One socket, one script.
    pub(crate) fn once(script: impl FnOnce(Stage) + Send + 'static) -> Self {
        Self::play(vec![Box::new(script)])
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for the scripts to end. A script that fails fails here.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok(), "a script failed: see above");
        fs::remove_file(self.path()).unwrap();
    }
}
