//! AMQP over TLS: certificates, the mechanism EXTERNAL, and new certificates without a restart.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use amq_protocol::protocol::confirm::{AMQPMethod as Confirm, Select, SelectOk};
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::harness::{Broker, Login, Raw, declare, get, own_process, socket};

/// An authority and a directory with the files that it has made.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// What a client shows.
type ClientCertificate = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn certificate(&self, common_name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Makes a new certificate for the broker, in place of the one before.
    fn write_server_certificate(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.certificate("broker");
        fs::write(self.path("server.pem"), certificate.pem()).unwrap();
        fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn client_certificate(&self, user: &str) -> ClientCertificate {
        let (certificate, key) = self.certificate(user);
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// Flags of a broker that has a certificate of this authority.
    fn flags(&self, more: &[&str]) -> Vec<String> {
        let option = |key: &str, path: &Path| format!("ssl_options.{key} = {}", path.display());
        let files = [
            option("cacertfile", &self.path("ca.pem")),
            option("certfile", &self.path("server.pem")),
            option("keyfile", &self.path("server.key")),
        ];
        let mut flags = vec!["--amqps".to_owned(), "127.0.0.1:0".to_owned()];
        for line in files.into_iter().chain(more.iter().map(|line| (*line).to_owned())) {
            flags.extend(["--set".to_owned(), line]);
        }
        flags
    }

    fn connect(
        &self,
        broker: &Broker,
        client: Option<ClientCertificate>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(session, socket(broker.tls_address.expect("a TLS listener")))
    }
}

/// Runs a test against a broker with a certificate and more lines of configuration.
fn encrypted(lines: &[&str], test: impl AsyncFnOnce(&mut Broker, &Authority)) {
    let authority = Authority::new();
    authority.write_server_certificate();
    let flags = authority.flags(lines);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    own_process(&flags, async |broker| test(broker, &authority).await);
}

fn external() -> Login {
    Login { mechanism: "EXTERNAL", response: Vec::new(), ..Login::default() }
}

#[test]
fn messages_of_any_size_go_through() {
    encrypted(&[], async |broker, authority| {
        let session = broker.open().await;
        declare(&session, "q").await;
        let mut raw = Raw::over(authority.connect(broker, None));
        raw.handshake(&Login::default());
        raw.open_channel(1);
        let select = AMQPClass::Confirm(Confirm::Select(Select { nowait: false }));
        assert_eq!(raw.call(1, &select), AMQPClass::Confirm(Confirm::SelectOk(SelectOk {})));
        let frame_max = 131_072 - 8;
        for size in [0, 1, 20_000, frame_max] {
            raw.publish(1, "q", &vec![7; size]);
        }
        // Confirms come in order.
        let mut confirmed = 0;
        while confirmed < 4 {
            let AMQPClass::Basic(Basic::Ack(ack)) = raw.method(1) else { panic!("no basic.ack") };
            confirmed = ack.delivery_tag;
        }
        for size in [0, 1, 20_000, frame_max] {
            let message = get(&session, "q").await.expect("a message");
            assert_eq!(message.data.len(), size);
        }
    });
}

#[test]
fn deliveries_come_back_encrypted() {
    use amq_protocol::frame::AMQPFrame;
    use amq_protocol::protocol::basic::Get;
    encrypted(&["ssl_options.versions.1 = tlsv1.2"], async |broker, authority| {
        let session = broker.open().await;
        declare(&session, "q").await;
        let mut raw = Raw::over(authority.connect(broker, None));
        raw.handshake(&Login::default());
        raw.open_channel(1);
        let body = vec![9; 100_000];
        raw.publish(1, "q", &body);
        raw.send(1, &crate::harness::basic(Basic::Get(Get { queue: "q".into(), no_ack: true })));
        assert!(matches!(raw.next(), Some(AMQPFrame::Method(1, AMQPClass::Basic(Basic::GetOk(_))))));
        assert!(matches!(raw.next(), Some(AMQPFrame::Header(1, _))));
        assert!(matches!(raw.next(), Some(AMQPFrame::Body(1, piece)) if piece == body));
    });
}

#[test]
fn certificate_names_the_user_of_external() {
    let lines = ["ssl_options.verify = verify_peer", "ssl_cert_login_from = common_name"];
    encrypted(&lines, async |broker, authority| {
        let guest = authority.client_certificate("guest");
        let mut raw = Raw::over(authority.connect(broker, Some(guest)));
        let answer = raw.handshake(&external());
        assert!(matches!(answer, AMQPClass::Connection(Connection::OpenOk(_))), "{answer:?}");
        let stranger = authority.client_certificate("stranger");
        let mut raw = Raw::over(authority.connect(broker, Some(stranger)));
        let answer = raw.handshake(&external());
        let AMQPClass::Connection(Connection::Close(close)) = answer else { panic!("{answer:?}") };
        assert_eq!(close.reply_code, 403);
        // Who shows no certificate still has a password.
        let mut raw = Raw::over(authority.connect(broker, None));
        let answer = raw.handshake(&Login::default());
        assert!(matches!(answer, AMQPClass::Connection(Connection::OpenOk(_))), "{answer:?}");
    });
}

#[test]
fn clients_must_show_a_certificate_that_is_trusted() {
    let lines = ["ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true"];
    encrypted(&lines, async |broker, authority| {
        let refused = |client| {
            let mut stream = authority.connect(broker, client);
            std::io::Write::write_all(&mut stream, b"AMQP\x00\x00\x09\x01").is_err()
                || std::io::Read::read_exact(&mut stream, &mut [0]).is_err()
        };
        assert!(refused(None));
        assert!(refused(Some(Authority::new().client_certificate("guest"))));
        assert!(!refused(Some(authority.client_certificate("guest"))));
    });
}

#[test]
fn new_certificates_are_used_after_a_reload_and_connections_stay() {
    encrypted(&[], async |broker, authority| {
        let mut open = Raw::over(authority.connect(broker, None));
        open.handshake(&Login::default());
        let new = authority.write_server_certificate();
        broker.reload();
        loop {
            let mut stream = authority.connect(broker, None);
            std::io::Write::write_all(&mut stream, b"AMQP\x00\x00\x09\x01").unwrap();
            std::io::Read::read_exact(&mut stream, &mut [0]).unwrap();
            if stream.conn.peer_certificates().unwrap()[0] == new {
                break;
            }
        }
        open.open_channel(1);
    });
}

#[test]
fn plain_amqp_on_the_tls_port_is_closed() {
    encrypted(&[], async |broker, _| {
        let mut raw = Raw::over(socket(broker.tls_address.expect("a TLS listener")));
        raw.write(b"AMQP\x00\x00\x09\x01");
        raw.rest();
    });
}
