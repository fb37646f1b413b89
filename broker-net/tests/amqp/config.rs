//! The configuration as the operator meets it: a file, the environment, `--set`, flags, and what is refused.

use std::fs;
use std::os::linux::fs::MetadataExt as _;
use std::process::{Command, Output};

use crate::harness::{Raw, own_process, socket};

fn ringmq(flags: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.env("RINGMQ_CONFIG", "").args(flags).envs(environment.iter().copied()).output().unwrap()
}

fn check(flags: &[&str], environment: &[(&str, &str)]) -> String {
    let output = ringmq(flags, environment);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{stderr}");
    stdout
}

#[test]
fn every_fault_of_a_file_is_told_with_its_line_and_the_broker_does_not_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "heartbeat = 5\n# fine so far\nhart_beat = 5\n[ssl_options]\nverify = true\n").unwrap();
    let path = file.path().to_str().unwrap();
    let output = ringmq(&["--config", path], &[]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        format!(
            "ringmq: {path}:3: unknown key `hart_beat`; is `heartbeat` meant?\n\
             {path}:5: ssl_options.verify: expected a text in quotes\n"
        )
    );
}

#[test]
fn check_config_checks_and_ends() {
    assert!(ringmq(&["--check-config", "--set", "heartbeat = 5"], &[]).status.success());
    assert!(!ringmq(&["--check-config", "--set", "heartbeat = often"], &[]).status.success());
    assert!(!ringmq(&["--check-config"], &[("RINGMQ_HEARTBEAT", "often")]).status.success());
}

#[test]
fn print_config_says_where_values_come_from_and_keeps_secrets() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "\nheartbeat = \"1m\"\ndefault_pass = \"hunter2\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    let flags = ["--print-config", "--config", path, "--amqp", "127.0.0.1:0", "--set", "frame_max=8192"];
    let printed = check(&flags, &[("RINGMQ_LOG_CONSOLE_FORMATTER", "json")]);
    for line in [
        "listeners.tcp = [\"127.0.0.1:0\"]  # --amqp",
        &format!("heartbeat = \"1m\"  # {path}:2"),
        "frame_max = 8192  # --set frame_max",
        "log.console.formatter = \"json\"  # RINGMQ_LOG_CONSOLE_FORMATTER",
        "channel_max = 2047  # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
    fs::write(file.path(), &printed).unwrap();
    check(&["--check-config", "--config", path], &[]);
}

#[test]
fn import_config_prints_what_the_broker_takes() {
    let conf = tempfile::NamedTempFile::new().unwrap();
    fs::write(conf.path(), "listeners.tcp.1 = 5673\nheartbeat = 7\ncluster_name = x\nwhat = ever\n").unwrap();
    let toml = check(&["--import-config", conf.path().to_str().unwrap()], &[]);
    assert!(toml.contains("\nlisteners.tcp = [5673]  # line 1\n"), "{toml}");
    assert!(toml.contains("\n# line 4: unknown key `what`\n"), "{toml}");
    fs::write(conf.path(), &toml).unwrap();
    check(&["--check-config", "--config", conf.path().to_str().unwrap()], &[]);
}

#[test]
fn lines_for_the_journal_have_levels_and_no_times() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = fs::File::create(&path).unwrap();
    let file = journal.metadata().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--config", "", "--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--set", "cluster_name=x", "--data-dir"])
        .arg(directory.path().join("data"))
        .env("JOURNAL_STREAM", format!("{}:{}", file.st_dev(), file.st_ino()))
        .stderr(journal)
        .spawn()
        .unwrap();
    // What a broker writes that does not get ready ends the wait too.
    let mut text = String::new();
    while !text.contains(" ready ") && child.try_wait().unwrap().is_none() {
        text = fs::read_to_string(&path).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.lines().all(|line| line.starts_with("<6>broker_") || line.starts_with("<4>broker_")), "{text}");
    assert!(text.contains("<4>broker_net::server: --set cluster_name: cluster_name has no effect"), "{text}");
}

#[test]
fn every_listener_takes_connections() {
    own_process(&["--amqp", "127.0.0.1:0", "--amqp", "[::1]:0"], async |broker| {
        Raw::open(broker);
        for address in broker.listening() {
            let mut raw = Raw::over(socket(address));
            raw.write(b"AMQP\x00\x00\x09\x01");
            raw.method(0);
        }
    });
}
