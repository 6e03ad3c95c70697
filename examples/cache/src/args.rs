//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Starts a cache server and a client, and compares Set and Get over mmap-rpc with a plain Unix socket.
#[derive(Debug, Parser)]
#[command(name = "cache", disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Which of the processes this is; unless given, the one that starts the others.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What a user may choose.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long to measure each transport, operation and size: there are 24 of them
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5, value_parser = seconds, global = true)]
    pub(crate) seconds: f64,
    /// Print rows as JSON lines instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The processes that the program starts of itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// The server, with its sockets in a directory.
    #[command(hide = true)]
    Serve {
        directory: PathBuf,
        /// Serve clients in other languages too, whose memory lies in files in this directory
        #[arg(long, value_name = "DIRECTORY")]
        files: Option<PathBuf>,
    },
    /// The client of a server whose sockets lie in a directory.
    #[command(hide = true)]
    Measure { directory: PathBuf },
    /// The other side of the floor; the shared file is its standard input.
    #[command(hide = true)]
    Echo,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 600.0 => Ok(seconds),
        _ => Err("give a number of seconds above 0, at most 600".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn options_reach_the_client_process() {
        let args = Args::parse_from(["cache", "measure", "/dir", "--seconds", "0.02", "--json"]);
        assert!(matches!(args.role, Some(Role::Measure { .. })));
        assert!(args.options.json && args.options.seconds == 0.02);
    }

    #[test]
    fn a_time_is_a_sensible_number() {
        assert_eq!(seconds("0.05"), Ok(0.05));
        for text in ["0", "-1", "601", "inf", "NaN", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
