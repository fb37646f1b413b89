//! Dates as RabbitMQ's API writes them, in UTC.

use time::OffsetDateTime;

/// `2026-12-29 21:16:32`, of seconds since the Unix epoch. What is beyond the year 9999 ends there.
pub(super) fn seconds(since_epoch: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(since_epoch).unwrap_or_else(|_| time::UtcDateTime::MAX.into());
    let (hour, minute, second) = at.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}", at.date())
}

/// `2026-11-29T21:07:23.484+00:00`, of milliseconds since the Unix epoch.
pub(super) fn milliseconds(since_epoch: u64) -> String {
    let (whole, rest) = (since_epoch / 1000, since_epoch % 1000);
    let date = seconds(i64::try_from(whole).unwrap_or(i64::MAX)).replace(' ', "T");
    format!("{date}.{rest:03}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_rabbitmq_writes_them() {
        assert_eq!(seconds(1_798_578_992), "2026-12-29 21:16:32");
        assert_eq!(seconds(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(seconds(i64::MAX), "9999-12-31 23:59:59");
        assert_eq!(milliseconds(1_795_986_443_007), "2026-11-29T21:07:23.007+00:00");
    }
}
