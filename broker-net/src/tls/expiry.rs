//! Until when certificates are valid.

use std::path::Path;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::{TlsError, certificates};

/// When the first of the certificates in a PEM file ceases to be valid, in seconds since the Unix epoch.
///
/// # Errors
/// The file cannot be read, or has no certificates in it.
pub(crate) fn expires_at(key: &'static str, path: &Path) -> Result<i64, TlsError> {
    let all = certificates(key, Some(path))?;
    let ends = all.iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        Ok(certificate.validity().not_after.timestamp())
    });
    let ends: Result<Vec<i64>, String> = ends.collect();
    let failed = |reason| TlsError::File { key: key.to_owned(), path: path.to_owned(), reason };
    ends.map_err(failed)?.into_iter().min().ok_or_else(|| failed("no certificate in it".to_owned()))
}
