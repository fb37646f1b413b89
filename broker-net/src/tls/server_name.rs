//! Which certificate a client gets: that of the name it asked for (SNI, RFC 6066 section 3), else the one for everybody.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsError, certificates};
use crate::config::{KeyPair, Tls};

/// Certificates by the names of the server.
#[derive(Debug)]
pub(super) struct ByServerName {
    /// By name in lower case; one that begins with `*.` stands for one more label.
    named: BTreeMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ByServerName {
    /// Reads the files.
    pub(super) fn new(options: &Tls, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let default = read("ssl_options.", &options.own, provider)?;
        let named = options.server_names.iter().map(|(name, pair)| {
            let read = read(&format!("ssl_options.server_names.{name}."), pair, provider)?;
            Ok((name.to_ascii_lowercase(), read))
        });
        Ok(Self { named: named.collect::<Result<_, TlsError>>()?, default })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
        self.named.get(&name).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(named.unwrap_or(&self.default)))
    }
}

/// Reads a certificate and its key, and checks that they belong together. `key` is what the configuration calls them.
fn read(key: &str, pair: &KeyPair, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(&format!("{key}certfile"), pair.certfile.as_deref())?;
    let path = pair.keyfile.as_deref().unwrap_or_else(|| Path::new(""));
    let failed = |reason: String| TlsError::File { key: format!("{key}keyfile"), path: path.to_owned(), reason };
    let private = PrivateKeyDer::from_pem_file(path).map_err(|error| failed(error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| failed(error.to_string()))?;
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_for(name: &str) -> Arc<CertifiedKey> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain = vec![made.cert.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).unwrap())
    }

    #[test]
    fn names_are_found_by_themselves_then_by_a_wildcard_of_one_label() {
        let (one, many) = (made_for("mq.example.com"), made_for("*.example.com"));
        let named = [("mq.example.com", &one), ("*.example.com", &many)];
        let named = named.map(|(name, key)| (name.to_owned(), Arc::clone(key))).into();
        let resolver = ByServerName { named, default: made_for("localhost") };
        let finds = |name: &str, key: &Arc<CertifiedKey>| {
            assert!(resolver.find(name).is_some_and(|found| Arc::ptr_eq(found, key)), "{name}");
        };
        finds("mq.example.com", &one);
        finds("MQ.Example.com", &one);
        finds("other.example.com", &many);
        for name in ["example.com", "a.b.example.com", "example.org", "localhost"] {
            assert!(resolver.find(name).is_none(), "{name}");
        }
    }
}
