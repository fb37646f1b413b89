//! Until when certificates are valid.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::{TlsError, certificates};
use crate::config::Tls;

/// When the certificates are valid that a listener was told to use, as they were when their files were read.
#[derive(Clone, Debug)]
pub(crate) struct Validity {
    /// The name (SNI) that a client must ask for; none for what everybody gets.
    pub(crate) server_name: Option<String>,
    /// The broker's certificate and its chain.
    pub(crate) own: Certified,
    /// The authorities of clients.
    pub(crate) authorities: Option<Certified>,
}

/// The certificates of a PEM file.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    /// The file.
    pub(crate) file: PathBuf,
    /// Of each certificate, in the order of the file.
    pub(crate) periods: Vec<Period>,
}

/// A time of validity, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Certified {
    fn read(key: &str, file: &Path) -> Result<Self, TlsError> {
        let period = |certificate: &[u8]| {
            let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
            let validity = certificate.validity();
            Ok(Period { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
        };
        let all = certificates(key, Some(file))?;
        let periods = all.iter().map(|certificate| period(certificate)).collect::<Result<_, String>>();
        let failed = |reason| TlsError::File { key: key.to_owned(), path: file.to_owned(), reason };
        Ok(Self { file: file.to_owned(), periods: periods.map_err(failed)? })
    }

    /// Those that are not valid now, or not any more at the time `end`.
    pub(crate) fn expiring(&self, end: i64) -> impl Iterator<Item = &Period> {
        let now = now();
        self.periods.iter().filter(move |period| period.not_before > now || period.not_after < end)
    }
}

/// Reads when the certificates of a listener are valid.
pub(super) fn validity(options: &Tls) -> Result<Vec<Validity>, TlsError> {
    let authorities = match &options.cacertfile {
        // Without `verify_peer` nobody needs the file, and it need not be there.
        Some(file) if options.verify_peer => Some(Certified::read("ssl_options.cacertfile", file)?),
        Some(file) => Certified::read("ssl_options.cacertfile", file).ok(),
        None => None,
    };
    let own = options.own.certfile.iter().map(|file| (None, "ssl_options.certfile".to_owned(), file));
    let named = options.server_names.iter().filter_map(|(name, pair)| {
        Some((Some(name.clone()), format!("ssl_options.server_names.{name}.certfile"), pair.certfile.as_ref()?))
    });
    let all = own.chain(named).map(|(server_name, key, file)| {
        let authorities = authorities.clone().filter(|_| server_name.is_none());
        Ok(Validity { server_name, own: Certified::read(&key, file)?, authorities })
    });
    all.collect()
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
