//! Definitions that the broker loads when it starts (`load_definitions`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use broker_core::admin::Admin;
use futures_lite::future::block_on;

use super::resource::load_definitions;

/// Why definitions were not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a file says is not acceptable. What came before it in the file is defined.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Loads a file of definitions, or every `.json` file of a directory in the order of their names. What is defined already stays
/// as it is or becomes what the file says; nothing is deleted.
///
/// # Errors
/// See [`LoadError`]: the rest of the file and all others are not loaded.
pub fn load(admin: &Admin, path: &Path) -> Result<(), LoadError> {
    for file in files(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })? {
        let json = fs::read(&file).map_err(|source| LoadError::Read { path: file.clone(), source })?;
        block_on(load_definitions(admin, &json))
            .map_err(|error| LoadError::Refused { path: file.clone(), reason: error.reason() })?;
        tracing::info!(file = %file.display(), "definitions loaded");
    }
    Ok(())
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> =
        files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    Ok(files)
}
