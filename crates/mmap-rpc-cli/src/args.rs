//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// RPC between processes of one machine, at the command line.
#[derive(Debug, Parser)]
#[command(name = "mmap-rpc", version, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measures calls between two processes, beside what the machine itself can do
    Bench(Bench),
    /// Lists the services of a running server, and their methods
    List(List),
    /// Describes services and messages of a running server, comments included
    Describe(Describe),
    /// Asks a running server for its health, and tells by the exit code
    ///
    /// 0: serving. 1: not serving. 2: this command line is wrong. 3: no server, or no answer. 4: the server
    /// has no health service, or has set no status for this name. With --watch it runs until the server ends,
    /// and the code is 3 then.
    Health(Health),
    /// The server of one row, which a bench starts.
    #[command(hide = true)]
    Serve(Serve),
}

/// The server that a command is about.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The Unix socket that the server listens on
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,
    /// How long to wait for the server, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
    pub timeout: Duration,
    /// Trust a server that runs as this user, too; it has to admit ours
    #[arg(long, value_name = "UID")]
    pub allow_uid: Option<u32>,
}

/// Which server's services to list.
#[derive(Debug, Clone, clap::Args)]
pub struct List {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// Print services as JSON lines
    #[arg(long)]
    pub json: bool,
}

/// What to describe.
#[derive(Debug, Clone, clap::Args)]
pub struct Describe {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// A service, message, enum or method, by its full name or the end of it; all services unless given
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Print what is described as JSON lines
    #[arg(long)]
    pub json: bool,
}

/// Whose health to ask for.
#[derive(Debug, Clone, clap::Args)]
pub struct Health {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// Full name of the service; the server as a whole unless given
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// Print the status now and whenever it changes, until the server ends
    #[arg(long)]
    pub watch: bool,
}

/// What to measure, and how to show it.
#[derive(Debug, Clone, clap::Args)]
pub struct Bench {
    /// Time for each cell of the table, in seconds; there are some 60
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
    pub duration: Duration,
    /// Sizes of the messages in bytes, with K, M or G for the powers of 1024
    #[arg(long, value_name = "SIZES", default_value = "64,4K,64K,1M,4M", value_delimiter = ',')]
    #[arg(value_parser = size)]
    pub sizes: Vec<usize>,
    /// Processors of client and server; the first two unless given
    #[arg(long, value_name = "CLIENT,SERVER")]
    pub pin: Option<Pin>,
    /// Only these rows
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only these modes
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    pub modes: Vec<Mode>,
    /// Connections of the modes idle and connections
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub connections: u32,
    /// Draws latency against size into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Print rows as JSON lines instead of a table
    #[arg(long)]
    pub json: bool,
}

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One call at a time, for each size
    Latency,
    /// 64 calls of 64 bytes under way at once, from one thread
    Flood,
    /// A call after 50 ms of silence
    Wake,
    /// No calls at all on many connections
    Idle,
    /// One call at a time, both processes on one processor
    OneCore,
    /// One call at a time, with many other connections open
    Connections,
    /// One call at a time from each of several threads on one channel
    Threads,
    /// One message after the other through one stream, for two sizes
    Stream,
}

impl Mode {
    /// As the rows spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Flood => "flood",
            Self::Wake => "wake",
            Self::Idle => "idle",
            Self::OneCore => "one-core",
            Self::Connections => "connections",
            Self::Threads => "threads",
            Self::Stream => "stream",
        }
    }
}

/// The processors of client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [usize; 2]);

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once(',').and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
        pair.map(Self).ok_or_else(|| "give two processor numbers, such as 0,1".into())
    }
}

/// What a bench tells the server that it starts.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// The row.
    pub row: String,
    /// Where its sockets may lie.
    pub directory: PathBuf,
    /// The processor that it serves on.
    #[arg(long)]
    pub pin: usize,
    /// The processor that it listens on to what the bench tells it, so that a spinning server does not starve
    /// that.
    #[arg(long)]
    pub control: usize,
    /// The longest message.
    #[arg(long)]
    pub max_size: usize,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a number of seconds above 0, at most 600".into()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']).len());
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        _ => None,
    };
    let bytes = shift.and_then(|shift| number.parse::<usize>().ok()?.checked_mul(1 << shift));
    bytes
        .filter(|bytes| (1..=256 << 20).contains(bytes))
        .ok_or_else(|| "give bytes from 1 to 256M, such as 64, 4K or 1M".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(arguments: &[&str]) -> Result<Bench, String> {
        let arguments = ["mmap-rpc", "bench"].iter().chain(arguments);
        match Args::try_parse_from(arguments).map_err(|error| error.to_string())?.command {
            Command::Bench(options) => Ok(options),
            _ => unreachable!("bench was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_whole_run() {
        let options = bench(&[]).unwrap();
        assert_eq!(options.sizes, [64, 4 << 10, 64 << 10, 1 << 20, 4 << 20]);
        assert!(options.rows.is_empty() && options.modes.is_empty() && options.pin.is_none());
        assert_eq!((options.connections, options.json), (1000, false));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let options = bench(&["--sizes", "7,1k,3M", "--rows", "a,b", "--modes", "wake,one-core"]).unwrap();
        assert_eq!(options.sizes, [7, 1024, 3 << 20]);
        assert_eq!(options.rows, ["a", "b"]);
        assert_eq!(options.modes, [Mode::Wake, Mode::OneCore]);
        assert_eq!(bench(&["--pin", "1,0"]).unwrap().pin, Some(Pin([1, 0])));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |arguments: &[&str]| bench(arguments).unwrap_err();
        for text in ["0", "-1", "601", "inf", "NaN", "soon"] {
            assert!(error(&["--duration", text]).contains("a number of seconds"), "{text}");
        }
        for text in ["0", "K", "1T", "1KM", "4.5K", "257M", "", "64,"] {
            assert!(error(&["--sizes", text]).contains("such as 64, 4K or 1M"), "{text}");
        }
        for text in ["1", "a,b", "0,1,2"] {
            assert!(error(&["--pin", text]).contains("two processor numbers"), "{text}");
        }
        let unknown = error(&["--modes", "fast"]);
        assert!(unknown.contains("latency") && unknown.contains("one-core"), "{unknown}");
        assert!(error(&["--connections", "1"]).contains("2..=100000"));
    }

    #[test]
    fn modes_have_one_spelling() {
        for mode in Mode::value_variants() {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
            assert_eq!(mode.to_possible_value().unwrap().get_name(), mode.name());
        }
    }
}
