//! TLS: certificates from files, what is asked of clients, and the user that a client's certificate names.

mod expiry;
mod name;
mod server_name;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub(crate) use self::expiry::{Certified, Period, Validity, now};
pub(crate) use self::name::user_name;
use self::server_name::ByServerName;
use crate::config::Tls;

/// Why TLS cannot be spoken: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{key} {}: {reason}", path.display())]
    File {
        /// The configuration key.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate, key and authorities do not fit together.
    #[error("ssl_options: {0}")]
    Options(String),
}

/// The configuration of new TLS connections, which can be replaced while connections are open.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    loaded: Arc<Mutex<Loaded>>,
}

/// What the files were when they were read.
#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Arc<[Validity]>,
}

impl Loaded {
    fn new(options: &Tls) -> Result<Self, TlsError> {
        Ok(Self { config: Arc::new(server_config(options)?), validity: expiry::validity(options)?.into() })
    }
}

impl Acceptor {
    /// Reads the files.
    pub(crate) fn new(options: &Tls) -> Result<Self, TlsError> {
        Ok(Self { loaded: Arc::new(Mutex::new(Loaded::new(options)?)) })
    }

    /// Reads the files again. After an error everything is as it was.
    pub(crate) fn reload(&self, options: &Tls) -> Result<(), TlsError> {
        let loaded = Loaded::new(options)?;
        *self.loaded() = loaded;
        Ok(())
    }

    /// What holds for a new connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().config)
    }

    /// Until when the certificates in use are valid.
    pub(crate) fn validity(&self) -> Arc<[Validity]> {
        Arc::clone(&self.loaded().validity)
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server_config(options: &Tls) -> Result<ServerConfig, TlsError> {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(if options.only_tls13 { ONLY_TLS13 } else { BOTH })
        .map_err(|error| TlsError::Options(error.to_string()))?;
    let builder = if options.verify_peer {
        let authorities = Arc::new(authorities(options)?);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(&provider));
        if !options.fail_if_no_peer_cert {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|error| TlsError::Options(error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let resolver = ByServerName::new(options, &provider)?;
    Ok(builder.with_cert_resolver(Arc::new(resolver)))
}

fn authorities(options: &Tls) -> Result<RootCertStore, TlsError> {
    const KEY: &str = "ssl_options.cacertfile";
    let mut store = RootCertStore::empty();
    for certificate in certificates(KEY, options.cacertfile.as_deref())? {
        store.add(certificate).map_err(|error| TlsError::File {
            key: KEY.to_owned(),
            path: options.cacertfile.clone().unwrap_or_default(),
            reason: error.to_string(),
        })?;
    }
    Ok(store)
}

/// All certificates of a PEM file, at least one.
fn certificates(key: &str, path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.unwrap_or_else(|| Path::new(""));
    let failed = |reason: String| TlsError::File { key: key.to_owned(), path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let certificates = CertificateDer::pem_reader_iter(io::BufReader::new(file))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in it".to_owned())) } else { Ok(certificates) }
}
