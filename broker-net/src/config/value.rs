//! The values of configuration keys, as RabbitMQ writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Why a text is not a value of its key: what was expected instead.
pub(super) type Refusal = String;

/// `true` or `false`; `on` and `off` as RabbitMQ takes them.
pub(super) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A whole number in a range.
pub(super) fn number<N>(text: &str, least: N, most: N) -> Result<N, Refusal>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<N>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}

/// A limit that may be absent: a whole number, or `infinity`.
pub(super) fn limit(text: &str) -> Result<Option<u64>, Refusal> {
    if text == "infinity" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "expected a number or infinity".to_owned())
}

/// A number of bytes with an optional unit; see [`unit()`].
pub(crate) fn bytes(text: &str) -> Result<u64, Refusal> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    number
        .parse::<u64>()
        .ok()
        .zip(unit(suffix.trim()))
        .and_then(|(number, unit)| number.checked_mul(unit))
        .ok_or_else(|| "expected a number of bytes, such as 1048576, 512MiB or 2GB".to_owned())
}

/// Bytes of a unit: `k`, `ki`, `kib` and the like are powers of 1024, `kB`, `MB` and the like powers of 1000.
fn unit(suffix: &str) -> Option<u64> {
    let power = |base: u64, letter: char| {
        let exponent = ['k', 'm', 'g', 't', 'p'].iter().position(|known| *known == letter)?;
        base.checked_pow(u32::try_from(exponent).ok()? + 1)
    };
    let lower = suffix.to_ascii_lowercase();
    let mut letters = lower.chars();
    match (letters.next(), letters.as_str()) {
        (None, _) => Some(1),
        (Some('b'), "") => Some(1),
        (Some(letter), "" | "i" | "ib") => power(1024, letter),
        (Some(letter), "b") => power(1000, letter),
        _ => None,
    }
}

/// Where to listen: a port on all addresses, `ip:port` or `[ip]:port`; RabbitMQ also takes an IPv6 address
/// without brackets.
pub(super) fn address(text: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(any(), port));
    }
    text.parse()
        .ok()
        .or_else(|| {
            let (ip, port) = text.rsplit_once(':')?;
            let ip = ip.parse::<Ipv6Addr>().ok()?;
            Some(SocketAddr::new(ip.into(), port.parse().ok()?))
        })
        .ok_or_else(|| "expected a port, ip:port or [ipv6]:port".to_owned())
}

/// All addresses of this machine: of IPv6 and IPv4 where there is IPv6.
pub(super) fn any() -> IpAddr {
    // Without IPv6 the kernel has no such table.
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// An IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| "expected an IP address".to_owned())
}

/// The filter of one of RabbitMQ's log levels, or `target=level` pairs with commas between them.
pub(crate) fn log_level(text: &str) -> Result<String, Refusal> {
    let level = |text: &str| match text {
        "trace" => Some("trace"),
        "debug" => Some("debug"),
        "info" | "notice" => Some("info"),
        "warning" | "warn" => Some("warn"),
        "error" | "critical" | "alert" | "emergency" => Some("error"),
        "none" | "off" => Some("off"),
        _ => None,
    };
    let directive = |text: &str| match text.rsplit_once('=') {
        Some((target, word)) => level(word).map(|level| format!("{target}={level}")),
        None => level(text).map(str::to_owned),
    };
    let filter: Option<Vec<_>> = text.split(',').map(|text| directive(text.trim())).collect();
    filter
        .map(|filter| filter.join(","))
        .ok_or_else(|| "expected debug, info, warning, error, critical or none, or target=level pairs".to_owned())
}

/// One of some words, and what it stands for.
pub(super) fn word<T: Copy, const N: usize>(text: &str, words: [(&str, T); N]) -> Result<T, Refusal> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, [])) => format!("expected {last}"),
            Some((last, others)) => format!("expected {} or {last}", others.join(", ")),
            None => String::new(),
        }
    })
}

/// A network, as `10.0.0.0/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    let single = || text.parse().ok().map(|address: IpAddr| IpNet::from(address));
    text.parse()
        .ok()
        .or_else(single)
        .ok_or_else(|| format!("`{text}` is not an address or a network such as 10.0.0.0/8"))
}

/// A time in milliseconds: a number of them, or a number with a unit.
pub(super) fn milliseconds(text: &str, least: u64, most: u64) -> Result<u64, Refusal> {
    let expected = || {
        let most = if most == u64::MAX { String::new() } else { format!(" to {most}") };
        format!("expected a number of milliseconds from {least}{most}, or a time such as 500ms, 10s, 5m, 1h")
    };
    time(text, 1).filter(|time| (least..=most).contains(time)).ok_or_else(expected)
}

/// A time in whole seconds: a number of them, or a number with a unit.
pub(super) fn seconds<N>(text: &str, least: N, most: N) -> Result<N, Refusal>
where
    N: Copy + PartialOrd + std::fmt::Display + TryFrom<u64>,
{
    let whole = time(text, 1000).filter(|time| time % 1000 == 0).and_then(|time| N::try_from(time / 1000).ok());
    whole
        .filter(|value| *value >= least && *value <= most)
        .ok_or_else(|| format!("expected a number of seconds from {least} to {most}, or a time such as 10s or 5m"))
}

/// Milliseconds of a time whose unit, if it names none, is `unit` milliseconds.
fn time(text: &str, unit: u64) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit = match suffix.trim() {
        "" => unit,
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A fraction from 0 to 1, in thousandths.
pub(crate) fn fraction(text: &str) -> Result<u32, Refusal> {
    thousandths(text, 1.0).ok_or_else(|| "expected a fraction from 0 to 1".to_owned())
}

/// How many times something, from 0 on, in thousandths.
pub(crate) fn multiple(text: &str) -> Result<u32, Refusal> {
    thousandths(text, 1000.0).ok_or_else(|| "expected a number from 0 to 1000, such as 1.5".to_owned())
}

fn thousandths(text: &str, most: f64) -> Option<u32> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=most).contains(value))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a million")]
    Some((value * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_rabbitmqs_units() {
        for (text, expect) in [
            ("0", 0),
            ("50MB", 50_000_000),
            ("1024MiB", 1 << 30),
            ("2 GiB", 2 << 30),
            ("3k", 3072),
            ("7B", 7),
            ("1tb", 1_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expect), "{text}");
        }
        for text in ["", "MB", "-1", "1.5GB", "1XB", "99999999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_may_be_ports_and_bare_ipv6() {
        assert_eq!(address("5672").unwrap().port(), 5672);
        assert_eq!(address("127.0.0.1:1"), Ok("127.0.0.1:1".parse().unwrap()));
        assert_eq!(address("::1:5672"), Ok("[::1]:5672".parse().unwrap()));
        assert_eq!(address("[::]:5672"), Ok("[::]:5672".parse().unwrap()));
        for text in ["", "localhost:5672", "70000", "1.2.3.4"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_take_units() {
        for (text, expect) in [("0", 0), ("1500", 1500), ("10s", 10_000), ("5 m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(milliseconds(text, 0, u64::MAX), Ok(expect), "{text}");
        }
        assert_eq!(seconds("2m", 0, u16::MAX), Ok(120));
        assert_eq!(seconds("60", 0, u16::MAX), Ok(60));
        for text in ["", "s", "-1", "1.5s", "1y", "1500ms"] {
            assert!(seconds(text, 0, u16::MAX).is_err(), "{text}");
        }
        let error = seconds("-1", 0, u16::MAX).unwrap_err();
        assert_eq!(error, "expected a number of seconds from 0 to 65535, or a time such as 10s or 5m");
    }

    #[test]
    fn levels_are_rabbitmqs_and_may_have_targets() {
        assert_eq!(log_level("critical"), Ok("error".to_owned()));
        assert_eq!(log_level("warning, broker_net=debug"), Ok("warn,broker_net=debug".to_owned()));
        assert!(log_level("loud").is_err());
        assert!(log_level("broker_net=loud").is_err());
    }

    #[test]
    fn networks_may_be_single_addresses() {
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn limits_may_be_absent() {
        assert_eq!(limit("infinity"), Ok(None));
        assert_eq!(limit("7"), Ok(Some(7)));
        assert!(limit("-1").is_err());
        assert_eq!(number("5", 1, 9), Ok(5));
        assert_eq!(number("0", 1, 9), Err("expected a number from 1 to 9".to_owned()));
        assert_eq!(fraction("0.6"), Ok(600));
        assert!(fraction("1.1").is_err());
        assert_eq!(multiple("1.5"), Ok(1500));
        assert!(multiple("-1").is_err() && multiple("NaN").is_err());
    }
}
