//! The user that a client's certificate names, by the rules of RabbitMQ's `rabbitmq_auth_mechanism_ssl`.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::amqp::{CertLogin, Config, SanType};

/// The names of attribute types in a distinguished name (RFC 4514 section 3, and RabbitMQ's others), by object identifier.
const ATTRIBUTES: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "TITLE"),
    ("2.5.4.42", "GIVENNAME"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// The name in a certificate (DER), if it has what the configuration asks for.
pub(crate) fn user_name(certificate: &[u8], config: &Config) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    match config.cert_login {
        CertLogin::DistinguishedName => Some(distinguished_name(certificate.subject())),
        CertLogin::CommonName => {
            let names: Vec<&str> =
                certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
            (!names.is_empty()).then(|| names.join(","))
        }
        CertLogin::SubjectAlternativeName => {
            let names = certificate.subject_alternative_name().ok()??;
            let of_type = names.value.general_names.iter().filter_map(|name| general_name(name, config.san_type));
            of_type.into_iter().nth(config.san_index)
        }
    }
}

fn general_name(name: &GeneralName<'_>, wanted: SanType) -> Option<String> {
    match (wanted, name) {
        (SanType::Dns, GeneralName::DNSName(name))
        | (SanType::Email, GeneralName::RFC822Name(name))
        | (SanType::Uri, GeneralName::URI(name)) => Some((*name).to_owned()),
        (SanType::Ip, GeneralName::IPAddress(bytes)) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// The subject as RFC 4514 writes it: the last part first.
fn distinguished_name(subject: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        subject.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == oid);
    let name = known.map_or(oid.as_str(), |(_, name)| *name);
    format!("{name}={}", escaped(attribute.as_str().unwrap_or_default()))
}

/// A value with the characters escaped that mean something in a distinguished name (RFC 4514 section 2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        let special = matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (index == 0 && matches!(letter, ' ' | '#'))
            || (index == last && letter == ' ');
        if special {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["client.test".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Ring, Ltd");
        subject.push(DnType::CommonName, "client");
        params.distinguished_name = subject;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_rabbitmqs() {
        let certificate = certificate();
        let name = |cert_login, san_type, san_index| {
            let config = Config { cert_login, san_type, san_index, ..Config::default() };
            user_name(&certificate, &config)
        };
        let subject = name(CertLogin::DistinguishedName, SanType::Dns, 0);
        assert_eq!(subject.as_deref(), Some("CN=client,O=Ring\\, Ltd"));
        assert_eq!(name(CertLogin::CommonName, SanType::Dns, 0).as_deref(), Some("client"));
        let alternative = |san_type, index| name(CertLogin::SubjectAlternativeName, san_type, index);
        assert_eq!(alternative(SanType::Dns, 0).as_deref(), Some("client.test"));
        assert_eq!(alternative(SanType::Dns, 1), None);
        assert_eq!(alternative(SanType::Ip, 0).as_deref(), Some("10.1.2.3"));
        assert_eq!(alternative(SanType::Uri, 0), None);
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        assert_eq!(user_name(b"", &Config::default()), None);
        assert_eq!(user_name(b"\x30\x03abc", &Config::default()), None);
    }
}
