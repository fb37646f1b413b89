//! The command line, spelt as PerfTest spells it where it has the option.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgAction, Parser};

use crate::{load::Load, scenario::Scenario};

/// PerfTest's short options of several letters, which clap does not know.
const SHORT_NAMES: [(&str, &str); 7] = [
    ("-ad", "--auto-delete"),
    ("-ea", "--exchange-args"),
    ("-mh", "--message-headers"),
    ("-qa", "--queue-args"),
    ("-qp", "--queue-pattern"),
    ("-qpf", "--queue-pattern-from"),
    ("-qpt", "--queue-pattern-to"),
];

/// Puts an AMQP 0-9-1 broker under load and verifies what it delivers.
///
/// Without -r producers send as fast as the broker and the confirm window allow. With -r they keep to a timetable, and latency counts from
/// the time a message should have been sent. Lost, duplicated, reordered or damaged messages end in exit code 1.
/// Latencies are in microseconds.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench", version, disable_help_flag = true)]
pub struct Options {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Broker
    #[arg(short = 'h', long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    uri: String,
    /// A predefined workload (list: --scenarios); only --uri, -z, --pid, --cpu, --metrics, --json and --keep apply to it
    #[arg(long)]
    scenario: Option<String>,
    /// List the predefined workloads
    #[arg(long)]
    pub scenarios: bool,
    /// Producers, each with a connection of its own
    #[arg(short = 'x', long, default_value_t = 1)]
    producers: usize,
    /// Consumers, each with a connection of its own
    #[arg(short = 'y', long, default_value_t = 1)]
    consumers: usize,
    /// Bytes of a message body; under 16, messages are counted but not verified one by one
    #[arg(short = 's', long, default_value_t = 16)]
    size: usize,
    /// Use publisher confirms, with at most this many unconfirmed messages per producer
    #[arg(short = 'c', long)]
    confirm: Option<u32>,
    /// Prefetch per consumer
    #[arg(short = 'q', long)]
    qos: Option<u16>,
    /// Prefetch per channel
    #[arg(short = 'Q', long)]
    global_qos: Option<u16>,
    /// Acknowledge every so many messages, with `multiple`
    #[arg(short = 'A', long, default_value_t = 1)]
    multi_ack_every: u32,
    /// Consume without acknowledgements
    #[arg(short = 'a', long)]
    autoack: bool,
    /// Message flags: persistent (and durable queues), mandatory
    #[arg(short = 'f', long = "flag", value_parser = ["persistent", "mandatory"], action = ArgAction::Append)]
    flags: Vec<String>,
    /// Messages a second of each producer (open loop)
    #[arg(short = 'r', long)]
    rate: Option<f64>,
    /// Seconds to publish for; 0 is until -C or -D is reached [default: 10, or 0 with -C or -D]
    #[arg(short = 'z', long)]
    time: Option<f64>,
    /// Messages to publish per producer
    #[arg(short = 'C', long)]
    pmessages: Option<u64>,
    /// Messages to receive per consumer
    #[arg(short = 'D', long)]
    cmessages: Option<u64>,
    /// Queue; may be repeated
    #[arg(short = 'u', long = "queue", default_value = "ringmq-bench")]
    queues: Vec<String>,
    /// Several queues: a name with %d
    #[arg(long, requires_all = ["queue_pattern_from", "queue_pattern_to"])]
    queue_pattern: Option<String>,
    /// First number of the queue pattern
    #[arg(long)]
    queue_pattern_from: Option<u64>,
    /// Last number of the queue pattern
    #[arg(long)]
    queue_pattern_to: Option<u64>,
    /// Every producer publishes to all queues in turn, instead of to one of them
    #[arg(long)]
    spread: bool,
    /// Exchange [default: the default exchange, or `ringmq-bench` with -t]
    #[arg(short = 'e', long)]
    exchange: Option<String>,
    /// Type of the exchange [default: direct]
    #[arg(short = 't', long = "type")]
    exchange_type: Option<String>,
    /// Routing key that all queues are bound with [default: each queue's name]
    #[arg(short = 'k', long)]
    routing_key: Option<String>,
    /// Queues are auto-delete [short: -ad]
    #[arg(long, default_value = "false", action = ArgAction::Set)]
    auto_delete: bool,
    /// Arguments of the queues, as key=value,key=value [short: -qa]
    #[arg(long, value_delimiter = ',', value_parser = key_value)]
    queue_args: Vec<(String, String)>,
    /// Arguments of the exchange, as key=value,key=value [short: -ea]
    #[arg(long, value_delimiter = ',', value_parser = key_value)]
    exchange_args: Vec<(String, String)>,
    /// Headers of messages, as key=value,key=value [short: -mh]
    #[arg(long, value_delimiter = ',', value_parser = key_value)]
    message_headers: Vec<(String, String)>,
    /// Queues and exchange exist: do not declare, purge or delete them
    #[arg(short = 'p', long)]
    predeclared: bool,
    /// Do not purge the queues before
    #[arg(long)]
    no_purge: bool,
    /// Do not delete queues and exchange afterwards
    #[arg(long)]
    keep: bool,
    /// Seconds to wait for what is on its way when the producers have stopped
    #[arg(long, default_value_t = 120.0)]
    drain: f64,
    /// The broker's process: report its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Run on this CPU only
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Serve Prometheus metrics at ADDRESS:PORT while running
    #[arg(long)]
    metrics: Option<String>,
    /// Write the report to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    /// Reads the process's arguments, or ends the process with a message.
    pub fn read() -> Self {
        Self::parse_from(std::env::args().map(long_name))
    }

    /// The workload, and the scenario's name if it is one.
    pub fn load(self) -> Result<(Load, Option<String>)> {
        let scenario = self.scenario.clone();
        let load = match &scenario {
            None => self.own_load()?,
            Some(name) => {
                let scenario = Scenario::find(name).with_context(|| format!("there is no scenario {name}"))?;
                let mut load = scenario.load();
                load.seconds = self.time.or(load.seconds);
                self.apply_common(load)
            }
        };
        Ok((load, scenario))
    }

    fn apply_common(self, load: Load) -> Load {
        Load { uri: self.uri, pid: self.pid, metrics: self.metrics, json: self.json, keep: self.keep, ..load }
    }

    fn own_load(self) -> Result<Load> {
        let counted = self.pmessages.is_some() || self.cmessages.is_some();
        let seconds = self.time.unwrap_or(if counted { 0.0 } else { 10.0 });
        let exchange =
            self.exchange.clone().or_else(|| self.exchange_type.as_ref().map(|_| "ringmq-bench".into()));
        let load = Load {
            producers: self.producers,
            consumers: self.consumers,
            size: self.size,
            confirm_window: self.confirm,
            prefetch: self.qos,
            channel_prefetch: self.global_qos,
            ack_every: self.multi_ack_every,
            auto_ack: self.autoack,
            persistent: self.flags.iter().any(|flag| flag == "persistent"),
            mandatory: self.flags.iter().any(|flag| flag == "mandatory"),
            rate: self.rate,
            seconds: (seconds > 0.0).then_some(seconds),
            publish_count: self.pmessages,
            consume_count: self.cmessages,
            queues: self.queue_names()?,
            exchange: exchange.filter(|exchange| !exchange.is_empty()),
            exchange_type: self.exchange_type.clone().unwrap_or_else(|| "direct".into()),
            routing_key: self.routing_key.clone(),
            spread: self.spread,
            auto_delete: self.auto_delete,
            queue_arguments: self.queue_args.clone(),
            exchange_arguments: self.exchange_args.clone(),
            headers: self.message_headers.clone(),
            predeclared: self.predeclared,
            purge: !self.no_purge,
            drain_seconds: self.drain,
            ..Load::default()
        };
        Ok(self.apply_common(load))
    }

    fn queue_names(&self) -> Result<Vec<String>> {
        let Some(pattern) = &self.queue_pattern else {
            return Ok(self.queues.clone());
        };
        let (before, after) = pattern.split_once("%d").context("--queue-pattern has no %d")?;
        let from = self.queue_pattern_from.unwrap_or(1);
        let to = self.queue_pattern_to.unwrap_or(from);
        Ok((from..=to).map(|number| format!("{before}{number}{after}")).collect())
    }
}

fn long_name(argument: String) -> String {
    SHORT_NAMES.iter().find(|(short, _)| *short == argument).map_or(argument, |(_, long)| (*long).into())
}

fn key_value(argument: &str) -> Result<(String, String), String> {
    let (key, value) = argument.split_once('=').ok_or("an argument is key=value")?;
    Ok((key.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &str) -> Load {
        let arguments = std::iter::once("ringmq-bench").chain(arguments.split_ascii_whitespace());
        Options::try_parse_from(arguments.map(|a| long_name(a.into()))).unwrap().load().unwrap().0
    }

    #[test]
    fn perf_test_options_mean_what_they_mean_there() {
        let load = load("-x 2 -y 3 -s 1024 -c 500 -q 100 -A 10 -f persistent -r 50 -z 30 -u q -h amqp://host");
        assert_eq!((load.producers, load.consumers, load.size), (2, 3, 1024));
        assert_eq!((load.confirm_window, load.prefetch, load.ack_every), (Some(500), Some(100), 10));
        assert_eq!((load.persistent, load.rate, load.seconds), (true, Some(50.0), Some(30.0)));
        assert_eq!((load.queues, load.uri), (vec!["q".into()], "amqp://host".into()));
    }

    #[test]
    fn a_queue_pattern_names_every_queue() {
        let load = load("-qp perf-%d-x -qpf 9 -qpt 11 -ad true -qa x-max-length=5,x-mode=lazy");
        assert_eq!(load.queues, ["perf-9-x", "perf-10-x", "perf-11-x"]);
        assert!(load.auto_delete);
        assert_eq!(load.queue_arguments[1], ("x-mode".into(), "lazy".into()));
    }

    #[test]
    fn a_count_without_a_time_runs_until_it_is_reached() {
        assert_eq!(load("-C 10").seconds, None);
        assert_eq!(load("-C 10 -z 5").seconds, Some(5.0));
        assert_eq!(load("").seconds, Some(10.0));
    }

    #[test]
    fn a_scenario_keeps_its_workload_and_takes_the_time() {
        let load = load("--scenario persistent-1k -z 3 --pid 7");
        assert_eq!((load.size, load.seconds, load.pid), (1024, Some(3.0), Some(7)));
    }

    #[test]
    fn a_type_alone_makes_an_exchange() {
        let fanout = load("-t fanout");
        assert_eq!((fanout.exchange.as_deref(), fanout.exchange_type.as_str()), (Some("ringmq-bench"), "fanout"));
        assert_eq!(load("").exchange, None);
    }
}
