//! Whether certificates in use are about to expire.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::harness::{Served, check, check_refused};

/// Makes a certificate, in place of the one before, that is valid from and for so many days; when it ends as RabbitMQ writes it.
fn certify(directory: &Path, name: &str, (from, to): (i64, i64)) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = OffsetDateTime::from_unix_timestamp(since.as_secs().try_into().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = now + Duration::days(from);
    params.not_after = now + Duration::days(to);
    let key = KeyPair::generate().unwrap();
    fs::write(directory.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    let (hour, minute, second) = params.not_after.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}", params.not_after.date())
}

/// Makes certificates for AMQPS, for WebSockets, for a server name and for HTTPS, and a configuration file that names them.
fn configure(directory: &Path) -> String {
    let file = |name: &str| directory.join(name).display().to_string();
    let pair = |key: &str, name: &str| {
        format!(
            "{key}.certfile = '{}'\n{key}.keyfile = '{}'\n",
            file(&format!("{name}.pem")),
            file(&format!("{name}.key"))
        )
    };
    let text = [
        format!("ssl_options.cacertfile = '{}'\n", file("ca.pem")),
        pair("ssl_options", "own"),
        pair("ssl_options.server_names.\"mq.example\"", "named"),
        pair("management.ssl", "https"),
    ];
    fs::write(directory.join("ringmq.toml"), text.concat()).unwrap();
    file("ringmq.toml")
}

/// A broker with a file of configuration that listens on every kind of port with TLS.
fn start(configuration: &str) -> Served {
    let listeners = ["--amqps", "127.0.0.1:0", "--wss", "127.0.0.1:0", "--https", "127.0.0.1:0"];
    Served::start_with(&[&["--config", configuration], &listeners[..]].concat())
}

/// Protocol and, if there is one, server name of each row of an answer, with when the certificate and those of the authorities expire.
fn rows(answer: &Value) -> Vec<[Value; 4]> {
    let rows = answer["expired"].as_array().unwrap().iter();
    let fields = ["protocol", "server_name", "certfile_expires_on", "cacertfile_expires_on"];
    rows.map(|row| fields.map(|field| row[field].clone())).collect()
}

#[test]
fn every_certificate_in_use_is_looked_at() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let dates = [("named", 4), ("https", 11), ("own", 40), ("ca", 400)];
    let [named, https, own, ca] = dates.map(|(name, days)| certify(directory, name, (-1, days)));
    let api = start(&configure(directory));
    let expiring =
        |within: &str| check(api.get(&format!("health/checks/certificate-expiration/{within}")), 503).body;
    let healthy = |within: &str| {
        let answer = check(api.get(&format!("health/checks/certificate-expiration/{within}")), 200);
        assert_eq!(answer.body, json!({"status": "ok"}), "{within}");
    };
    healthy("3/days");
    healthy("-1/years");
    let answer = expiring("5/days");
    assert_eq!((&answer["status"], &answer["reason"]), (&json!("failed"), &json!("Certificates expiring")));
    let of_name = |protocol: &str| [json!(protocol), json!("mq.example"), json!([named]), json!([])];
    let protocols = ["amqp/ssl", "amqp/wss", "https"];
    assert_eq!(rows(&answer), protocols.map(of_name), "a name is asked for on every port");
    let row = &answer["expired"][0];
    assert_eq!(row["certfile"], directory.join("named.pem").display().to_string());
    assert_eq!((&row["interface"], row["port"].is_u64()), (&json!("127.0.0.1"), true), "{row}");
    let of_https = |authorities: Value| [json!("https"), Value::Null, json!([https]), authorities];
    let [amqps, wss, _] = protocols.map(of_name);
    assert_eq!(rows(&expiring("2/weeks")), [amqps, wss, of_https(json!([])), of_name("https")]);
    let all = |authorities: Value| {
        let of_own = |protocol: &str| [json!(protocol), Value::Null, json!([own]), authorities.clone()];
        let https = of_https(json!([]));
        [of_own("amqp/ssl"), of_name("amqp/ssl"), of_own("amqp/wss"), of_name("amqp/wss"), https, of_name("https")]
    };
    assert_eq!(rows(&expiring("2/MONTHS")), all(json!([])));
    assert_eq!(rows(&expiring("2/years")), all(json!([ca])));
    check_refused(api.get("health/checks/certificate-expiration/x/days"), 400, "Invalid expiration value.");
    let units = "Time unit not recognised. Supported units: days, weeks, months, years.";
    check_refused(api.get("health/checks/certificate-expiration/1/fortnights"), 400, units);
}

#[test]
fn what_counts_is_the_certificate_in_use_and_not_the_file() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    for name in ["own", "named", "https", "ca"] {
        certify(directory, name, (-1, 5));
    }
    let api = start(&configure(directory));
    let answers = || api.get("health/checks/certificate-expiration/1/weeks");
    check(answers(), 503);
    for name in ["own", "named", "https", "ca"] {
        certify(directory, name, (-1, 100));
    }
    check(answers(), 503);
    api.broker.reload();
    while answers().status != 200 {
        std::thread::yield_now();
    }
    certify(directory, "https", (2, 100));
    api.broker.reload();
    while answers().status != 503 {
        std::thread::yield_now();
    }
    let answer = answers().body;
    let [[protocol, _, when, _]] = &rows(&answer)[..] else { panic!("{answer}") };
    assert_eq!(protocol, "https");
    assert!(when[0].as_str().unwrap().starts_with("not valid before "), "{answer}");
}

#[test]
fn without_tls_nothing_expires() {
    let api = Served::start();
    check(api.get("health/checks/certificate-expiration/100/years"), 200);
}
