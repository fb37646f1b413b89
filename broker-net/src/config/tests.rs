use std::io::Write as _;

use clap::Parser;

use super::*;

fn source(arguments: &[&str], environment: &[(&str, &str)]) -> Source {
    let always = ["ringmq", "--data-dir", "/d", "--config", ""];
    // The last `--config` counts.
    let flags = Flags::try_parse_from(
        [&always[..3], if arguments.contains(&"--config") { &[] } else { &always[3..] }, arguments].concat(),
    );
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Source { flags: flags.unwrap(), environment: environment.collect() }
}

fn check(arguments: &[&str]) -> Result<Config, ConfigError> {
    check_in(arguments, &[])
}

fn check_in(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_source(source(arguments, environment), "0-3".parse().unwrap())
}

#[track_caller]
fn check_refused(arguments: &[&str], expect: &str) {
    assert_eq!(check(arguments).unwrap_err().to_string(), expect);
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn without_flags_every_allowed_cpu_has_a_shard() {
    let config = check(&[]).unwrap();
    assert_eq!((config.shards, config.cpus), (4, vec![0, 1, 2, 3]));
    assert_eq!(config.settings.tcp.iter().map(SocketAddr::port).collect::<Vec<_>>(), [5672]);
    assert_eq!(config.settings.ssl, []);
    assert_eq!(config.settings.prometheus.address(), "0.0.0.0:15692".parse().unwrap());
    assert_eq!(config.settings.management.address(), "127.0.0.1:15672".parse().unwrap());
}

#[test]
fn cpus_decide_the_number_of_shards_and_shards_overrides_it() {
    assert_eq!(check(&["--cpus", "1,3"]).unwrap().shards, 2);
    assert_eq!(check(&["--cpus", "1,3", "--shards", "5"]).unwrap().shards, 5);
}

#[test]
fn a_cpu_that_is_not_allowed_is_refused_by_name() {
    check_refused(&["--cpus", "2-5"], "--cpus 2-5 names CPUs that this process may not use; it may use 0-3");
}

#[test]
fn shards_out_of_range_are_refused() {
    check_refused(&["--shards", "0"], "--shards: shards = 0: expected a number from 1 to 1024");
    check_refused(&["--shards", "1025"], "--shards: shards = 1025: expected a number from 1 to 1024");
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let error = check(&["--amqp", "127.0.0.1:99", "--metrics", "127.0.0.1:99"]).unwrap_err();
    assert!(matches!(error, ConfigError::SameAddress { .. }));
    check(&["--amqp", "127.0.0.1:0", "--amqp", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).unwrap();
    check_refused(
        &["--http", "127.0.0.1:99", "--metrics", "127.0.0.1:99"],
        "--metrics and --http are both 127.0.0.1:99: each needs an address of its own",
    );
}

#[test]
fn a_flag_overrides_the_environment_which_overrides_set_which_overrides_the_file() {
    let file = file("listeners.tcp = [1]\nheartbeat = 1\nchannel_max = 1\nframe_max = 8192\n");
    let path = file.path().to_str().unwrap();
    let set = ["--config", path, "--set", "heartbeat=2", "--set", "listeners.tcp=2", "--set", "channel_max=2"];
    let environment = [("RINGMQ_CHANNEL_MAX", "3"), ("RINGMQ_LISTENERS_TCP", "3")];
    let flags = [&set[..], &["--amqp", "127.0.0.1:4"]].concat();
    let config = check_in(&flags, &environment).unwrap();
    assert_eq!(config.settings.tcp, ["127.0.0.1:4".parse().unwrap()]);
    let connections = &config.settings.connections;
    assert_eq!((connections.channel_max, connections.heartbeat_s, connections.frame_max), (3, 2, 8192));
}

#[test]
fn lists_are_set_as_a_whole_or_element_by_element() {
    let config = check(&["--set", "listeners.tcp.a = 127.0.0.1:1", "--set", "listeners.tcp.b=[::1]:2"]).unwrap();
    assert_eq!(config.settings.tcp, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    let config = check(&["--set", "listeners.tcp = 127.0.0.1:1, [::1]:2"]).unwrap();
    assert_eq!(config.settings.tcp.len(), 2);
    assert_eq!(check(&["--set", "listeners.tcp = none"]).unwrap().settings.tcp, []);
}

#[test]
fn of_two_keys_for_one_thing_the_stronger_counts() {
    let file = file("vm_memory_high_watermark.absolute = '1GB'\n");
    let path = file.path().to_str().unwrap();
    let config = check(&["--config", path, "--set", "vm_memory_high_watermark.relative = 0.3"]).unwrap();
    assert_eq!(config.settings.memory, Watermark::Relative(300));
    assert_eq!(check(&["--config", path]).unwrap().settings.memory, Watermark::Absolute(1_000_000_000));
}

#[test]
fn faults_name_their_source_and_all_are_told() {
    check_refused(
        &["--set", "heartbeat=-1", "--set", "hart_beat=1"],
        "--set heartbeat: heartbeat = -1: expected a number of seconds from 0 to 65535, or a time such as 10s or 5m\n\
         --set hart_beat: unknown key `hart_beat`; is `heartbeat` meant?",
    );
    check_refused(&["--set", "heartbeat"], "--set heartbeat: expected key=value");
}

#[test]
fn tls_needs_certificate_and_key() {
    let error = check(&["--amqps", "127.0.0.1:5671"]).unwrap_err();
    assert_eq!(error, ConfigError::TlsIncomplete("ssl_options.certfile".to_owned()));
    let given = ["--amqps", "127.0.0.1:5671", "--set", "ssl_options.certfile=c", "--set", "ssl_options.keyfile=k"];
    check(&given).unwrap();
}

#[test]
fn a_reread_takes_what_can_change_and_names_what_needs_a_restart() {
    let file = file("initial_frame_max = 5000\nvm_memory_high_watermark.absolute = 1000\n");
    let mut config = check(&["--config", file.path().to_str().unwrap()]).unwrap();
    let nothing = Changes { applied: Vec::new(), need_restart: Vec::new() };
    assert_eq!(config.reread(), Ok(nothing.clone()));
    std::fs::write(file.path(), "frame_max = 4096\nvm_memory_high_watermark.absolute = 2000\n").unwrap();
    let changes = config.reread().unwrap();
    assert_eq!(changes.applied, ["vm_memory_high_watermark.absolute"]);
    assert_eq!(changes.need_restart, ["frame_max", "initial_frame_max"]);
    assert_eq!(config.settings.memory, Watermark::Absolute(2000));
    assert_eq!(config.settings.connections.initial_frame_max, 5000, "it needs a restart");
    std::fs::write(file.path(), "heartbeat = often\n").unwrap();
    assert!(config.reread().is_err());
    assert_eq!(config.settings.memory, Watermark::Absolute(2000), "after an error everything is as it was");
}

#[test]
fn what_is_printed_can_be_read_again_and_tells_no_secret() {
    let set = [
        "--set",
        "default_pass=hunter2",
        "--set",
        "listeners.tcp=1,127.0.0.1:2",
        "--set",
        "consumer_timeout=5m",
        "--set",
        "default_user=a\"b\\c",
        "--set",
        "connection_max=7",
        "--set",
        "disk_free_limit.relative=0.5",
    ];
    let config = check(&set).unwrap();
    let printed = config.print();
    assert!(!printed.contains("hunter2"), "{printed}");
    let file = file(&printed);
    let again = check(&["--config", file.path().to_str().unwrap(), "--set", "default_pass=hunter2"]).unwrap();
    assert_eq!(again.settings, config.settings, "{printed}");
}
