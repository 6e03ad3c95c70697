//! A client of the classic protocol by hand: it shares no code with the library, and lies when it is told to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use testkit::PATIENCE;

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A protobuf field of bytes.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], b":", body, b","].concat()
}

pub(crate) fn request(message: &str, value: &[u8]) -> Vec<u8> {
    let mut any = field(1, format!("type.googleapis.com/mmap_rpc.{message}").as_bytes());
    if !value.is_empty() {
        any.extend(field(2, value));
    }
    frame(&any)
}

pub(crate) fn call(id: &str, method: &str, size: u64) -> Vec<u8> {
    let value = [field(1, id.as_bytes()), field(2, method.as_bytes()), vec![0x18], varint(size)].concat();
    request("RPCRequest", &value)
}

/// What an RPCResponse says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) texts: [String; 5],
    /// `None` if it is absent, which the protocol forbids.
    pub(crate) size: Option<u64>,
}

impl Reply {
    /// The fields of a message of texts, and of a number in field 3 if it is one.
    pub(crate) fn parse(mut body: &[u8]) -> Self {
        let mut reply = Self::default();
        while let [tag, rest @ ..] = body {
            body = rest;
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let byte = body[0];
                body = &body[1..];
                number |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            match tag & 7 {
                0 => reply.size = Some(number),
                2 => {
                    let (text, rest) = body.split_at(number as usize);
                    reply.texts[usize::from(tag >> 3)] = String::from_utf8(text.to_vec()).unwrap();
                    body = rest;
                }
                _ => panic!("tag {tag}"),
            }
        }
        reply
    }

    pub(crate) fn error(&self) -> &str {
        &self.texts[4]
    }
}

/// A socket, and the connection on it.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) socket: UnixStream,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) file: Option<File>,
}

impl Raw {
    pub(crate) fn socket(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, id: String::new(), path: PathBuf::new(), file: None }
    }

    pub(crate) fn connect(path: &Path) -> Self {
        let mut raw = Self::socket(path);
        raw.open().unwrap();
        raw
    }

    /// Sends a ConnectRequest; the error of the answer, if it has one.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        self.send(&request("ConnectRequest", b""));
        let Reply { texts: [_, id, path, error, _], .. } = self.receive();
        if !error.is_empty() {
            assert!(id.is_empty() && path.is_empty());
            return Err(error);
        }
        (self.id, self.path) = (id, path.into());
        self.file = Some(OpenOptions::new().read(true).write(true).open(&self.path).unwrap());
        Ok(())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn receive_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head)?;
        let len = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let mut rest = vec![0; len + 1];
        self.socket.read_exact(&mut rest)?;
        assert_eq!((head[4], rest.pop()), (b':', Some(b',')));
        Ok(rest)
    }

    pub(crate) fn receive(&mut self) -> Reply {
        Reply::parse(&self.receive_frame().unwrap())
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().unwrap()
    }

    pub(crate) fn write(&self, message: &[u8]) {
        self.file().write_all_at(message, 0).unwrap();
    }

    pub(crate) fn read(&self, size: u64) -> Vec<u8> {
        let mut message = vec![0; size as usize];
        self.file().read_exact_at(&mut message, 0).unwrap();
        message
    }

    /// Announces a request of `size` bytes, whatever the file holds.
    pub(crate) fn announce(&mut self, method: &str, size: u64) -> Reply {
        let id = self.id.clone();
        self.send(&call(&id, method, size));
        let reply = self.receive();
        assert_eq!((&reply.texts[1], reply.texts[2].as_str()), (&id, method));
        assert!(reply.size.is_some() && (reply.error().is_empty() || reply.size == Some(0)));
        reply
    }

    pub(crate) fn call(&mut self, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        self.write(message);
        let reply = self.announce(method, message.len() as u64);
        match reply.error() {
            "" => Ok(self.read(reply.size.unwrap())),
            error => Err(error.to_owned()),
        }
    }

    /// Whether the server hangs up now, and sends nothing before.
    pub(crate) fn is_hung_up_on(&mut self) -> bool {
        let mut byte = [0];
        match self.socket.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
