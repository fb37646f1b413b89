//! Where the repository and its build products are, and how programs are run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, bail};

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

/// How the broker is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Workspace {
    /// Finds the repository that this program was built from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a workspace")?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root: root.to_owned(), target })
    }

    /// The directory with the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The cargo that runs this program, in the root of the repository.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).args(arguments);
        cargo
    }

    /// Builds a binary of a package and returns its path.
    pub(crate) fn build(&self, package: &str, binary: &str, profile: Profile) -> anyhow::Result<PathBuf> {
        let mut cargo = self.cargo(["build", "--package", package, "--bin", binary]);
        let directory = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                cargo.arg("--release");
                "release"
            }
        };
        run(&mut cargo)?;
        Ok(self.target.join(directory).join(binary))
    }

    /// All files of the repository with this extension, in order, as paths relative to the root. Hidden
    /// directories and build products are left out.
    pub(crate) fn files(&self, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
            for entry in entries {
                let entry = entry?;
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                if name.starts_with('.') || name.starts_with("target") {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    directories.push(path);
                } else if path.extension() == Some(OsStr::new(extension)) {
                    files.push(path.strip_prefix(&self.root)?.to_owned());
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Prints a command, runs it to its end, and makes its failure an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// [`run`] for what may hang: it is killed when the time is over.
pub(crate) fn run_within(command: &mut Command, patience: Duration) -> anyhow::Result<()> {
    println!("$ {}", shown(command));
    let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{}: {status}", shown(command)),
            None if start.elapsed() > patience => {
                child.kill()?;
                child.wait()?;
                bail!("{} has not ended after {patience:?}", shown(command));
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().map_or_else(|| program.to_string_lossy(), OsStr::to_string_lossy);
    let mut shown = name.into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found_and_its_files_are_listed_without_build_products() {
        let workspace = Workspace::find().unwrap();
        let files = workspace.files("rs").unwrap();
        assert!(files.contains(&PathBuf::from("xtask/src/workspace.rs")));
        assert!(files.iter().all(|file| !file.starts_with("target")));
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let short = Duration::from_millis(1);
        let error = run_within(Command::new("/bin/sh").args(["-c", "exec sleep 3600"]), short).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exec sleep 3600 has not ended after 1ms");
        run_within(Command::new("/bin/sh").args(["-c", "exit 0"]), Duration::from_secs(3600)).unwrap();
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_command_line() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3: exit status: 3");
    }
}
