//! The control files of the Debian package.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::layout::copy;
use crate::workspace::Workspace;

/// Files that dpkg keeps when the administrator has changed them.
const CONFFILES: [&str; 2] = ["/etc/default/ringmq", "/etc/ringmq/ringmq.toml"];

/// Adds `DEBIAN/` to the tree.
pub(super) fn add(workspace: &Workspace, tree: &Path, version: &str, architecture: &str) -> anyhow::Result<()> {
    let control = tree.join("DEBIAN");
    let files = files(tree)?;
    let bytes = files.iter().map(|file| Ok(fs::metadata(tree.join(file))?.len())).sum::<anyhow::Result<u64>>()?;
    let glibc = newest_glibc(&tree.join("usr/bin"))?;
    for script in ["postinst", "prerm", "postrm"] {
        copy(&workspace.root().join("packaging/debian").join(script), &control.join(script), 0o755)?;
    }
    let text = format!(
        "Package: ringmq\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: RingMQ developers <ringmq@localhost>\n\
         Installed-Size: {}\n\
         Depends: libc6 (>= {glibc}), libgcc-s1, passwd\n\
         Recommends: systemd, procps\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: https://github.com/ringmq/ringmq\n\
         Description: AMQP 0-9-1 message broker on io_uring\n \
         RingMQ speaks RabbitMQ's dialect of AMQP 0-9-1, so clients written for RabbitMQ\n \
         work with it unchanged. It runs one thread per core and confirms a persistent\n \
         message when it is on disk. The package holds the broker, the command line\n \
         ringmqctl with rabbitmqctl's verbs, and the load generator ringmq-bench.\n",
        bytes.div_ceil(1024)
    );
    fs::write(control.join("control"), text)?;
    fs::write(control.join("conffiles"), CONFFILES.map(|file| format!("{file}\n")).concat())?;
    fs::write(control.join("md5sums"), sums(tree, &files)?)?;
    Ok(())
}

/// All files of the tree, in order, without the control files.
fn files(tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path.strip_prefix(tree)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn sums(tree: &Path, files: &[PathBuf]) -> anyhow::Result<String> {
    let files = files.iter().filter(|file| !file.starts_with("etc"));
    let output = Command::new("md5sum").current_dir(tree).args(files).output().context("md5sum")?;
    ensure!(output.status.success(), "md5sum: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The newest version of glibc that a symbol of the binaries needs.
fn newest_glibc(binaries: &Path) -> anyhow::Result<String> {
    let mut newest = (2, 17);
    for entry in fs::read_dir(binaries)? {
        newest = newest.max(glibc_of(&fs::read(entry?.path())?));
    }
    let mut text = String::new();
    write!(text, "{}.{}", newest.0, newest.1)?;
    Ok(text)
}

/// The binary's table of versions holds their names as text.
fn glibc_of(binary: &[u8]) -> (u32, u32) {
    const PREFIX: &[u8] = b"GLIBC_";
    let starts = binary.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let version = |(at, _): (usize, &[u8])| {
        let rest = &binary[at + PREFIX.len()..];
        let text = &rest[..rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?];
        let (major, minor) = std::str::from_utf8(text).ok()?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    starts.filter_map(version).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_found_among_the_names_of_versions() {
        assert_eq!(glibc_of(b"\0GLIBC_2.2.5\0x\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GCC_3.0\0"), (2, 34));
        assert_eq!(glibc_of(b"nothing"), (0, 0));
    }
}
