//! Writes man pages and shell completions of the three binaries: `manual DIRECTORY`. `cargo xtask dist` runs it.

use std::io;
use std::path::{Path, PathBuf};
use std::{env, fs};

use broker_bench::Options;
use broker_net::config::Flags;
use broker_net::ctl;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("manual DIRECTORY"))?;
    for command in [Flags::command(), ctl::command(), Options::command()] {
        man_pages(&command, &directory.join("man1"))?;
        completions(command, &directory)?;
    }
    Ok(())
}

/// One page for the command, and one for each of its verbs.
fn man_pages(command: &Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command.clone().disable_help_subcommand(true), directory)
}

/// Each shell looks for them under a name of its own.
fn completions(mut command: Command, directory: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let files = [
        (Shell::Bash, "bash-completion", name.clone()),
        (Shell::Zsh, "zsh", format!("_{name}")),
        (Shell::Fish, "fish", format!("{name}.fish")),
    ];
    for (shell, folder, file) in files {
        let folder = directory.join(folder);
        fs::create_dir_all(&folder)?;
        clap_complete::generate(shell, &mut command, &name, &mut fs::File::create(folder.join(file))?);
    }
    Ok(())
}
