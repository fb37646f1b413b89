//! The catalog: definitions by kind and key, in a crash-safe embedded database. What kinds there are and what the
//! bytes mean is the caller's business.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::StoreError;

const DEFINITIONS: TableDefinition<'static, (&str, &[u8]), &[u8]> = TableDefinition::new("definitions");
const META: TableDefinition<'static, &str, u32> = TableDefinition::new("meta");
/// The format that this release writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// Memory for the database's pages, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// A change of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds or replaces.
    Put {
        /// The table, in a sense: `queue`, `exchange`, ...
        kind: &'static str,
        /// Identifies it within the kind.
        key: Vec<u8>,
        /// Everything else.
        value: Vec<u8>,
    },
    /// Removes. What does not exist is no error.
    Delete {
        /// See [`Change::Put`].
        kind: &'static str,
        /// See [`Change::Put`].
        key: Vec<u8>,
    },
}

/// The open catalog. Its calls block.
#[derive(Debug)]
pub struct Catalog {
    database: Database,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Catalog(error.into().to_string())
}

impl Catalog {
    /// Opens the catalog, or makes an empty one.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Catalog`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        {
            let mut meta = transaction.open_table(META).map_err(failed)?;
            let format = meta.get("format").map_err(failed)?.map(|format| format.value());
            match format {
                Some(found) if found > FORMAT => {
                    return Err(StoreError::NewerFormat { path: path.to_owned(), found, supported: FORMAT });
                }
                Some(_) => {}
                None => drop(meta.insert("format", FORMAT).map_err(failed)?),
            }
            transaction.open_table(DEFINITIONS).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(Self { database })
    }

    /// Shows every definition to `each` as (kind, key, value), sorted by kind and key.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    pub fn load(&self, mut each: impl FnMut(&str, &[u8], &[u8])) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let definitions = transaction.open_table(DEFINITIONS).map_err(failed)?;
        for definition in definitions.iter().map_err(failed)? {
            let (name, value) = definition.map_err(failed)?;
            let (kind, key) = name.value();
            each(kind, key, value.value());
        }
        Ok(())
    }

    /// Makes all `changes` in order, durably, or none of them.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    pub fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut definitions = transaction.open_table(DEFINITIONS).map_err(failed)?;
            for change in changes {
                match change {
                    Change::Put { kind, key, value } => {
                        drop(definitions.insert((*kind, &key[..]), &value[..]).map_err(failed)?);
                    }
                    Change::Delete { kind, key } => {
                        drop(definitions.remove((*kind, &key[..])).map_err(failed)?);
                    }
                }
            }
        }
        transaction.commit().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(catalog: &Catalog) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        catalog.load(|kind, key, value| all.push((kind.to_owned(), key.to_vec(), value.to_vec()))).unwrap();
        all
    }

    fn put(kind: &'static str, key: &str, value: &str) -> Change {
        Change::Put { kind, key: key.into(), value: value.into() }
    }

    #[test]
    fn committed_changes_are_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::open(&path).unwrap();
        catalog.commit(&[put("queue", "a", "1"), put("queue", "b", "2"), put("exchange", "a", "3")]).unwrap();
        let gone = Change::Delete { kind: "queue", key: "b".into() };
        catalog.commit(&[put("queue", "a", "4"), gone.clone(), gone]).unwrap();
        drop(catalog);
        let expected = [("exchange", "a", "3"), ("queue", "a", "4")];
        let expected = expected.map(|(kind, key, value)| (kind.to_owned(), key.into(), value.into()));
        assert_eq!(all(&Catalog::open(&path).unwrap()), expected);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::open(&path).unwrap();
        let transaction = catalog.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", 9).unwrap();
        transaction.commit().unwrap();
        drop(catalog);
        assert!(matches!(Catalog::open(&path), Err(StoreError::NewerFormat { found: 9, .. })));
    }
}
