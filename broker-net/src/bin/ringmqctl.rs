//! The administrator's command line.

use std::process::ExitCode;

use broker_net::ctl;

fn main() -> ExitCode {
    ctl::run()
}
