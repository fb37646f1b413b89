//! The scenarios that brokers are compared by. Defined once, here.

use crate::load::Load;

/// A named workload.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As given to `--scenario`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    load: fn() -> Load,
}

impl Scenario {
    /// The workload, against the default address.
    pub fn load(&self) -> Load {
        (self.load)()
    }

    /// The scenario of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }
}

/// All scenarios, in the order they are run in.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "transient-16",
        about: "transient 16 B, 1 producer, 1 consumer, auto-ack",
        load: || Load { auto_ack: true, ..Load::default() },
    },
    Scenario {
        name: "transient-1k",
        about: "transient 1 KB, 1 producer, 1 consumer, auto-ack",
        load: || Load { auto_ack: true, size: 1024, ..Load::default() },
    },
    Scenario {
        name: "persistent-1k",
        about: "persistent confirmed 1 KB, window 1000, prefetch 1000, ack every 100",
        load: persistent,
    },
    Scenario {
        name: "persistent-publish",
        about: "persistent confirmed 1 KB, window 1000, nobody consumes",
        load: || Load { consumers: 0, ..persistent() },
    },
    Scenario {
        name: "confirm-latency",
        about: "persistent confirmed 1 KB, one message at a time",
        load: || Load { confirm_window: Some(1), ack_every: 1, ..persistent() },
    },
    Scenario {
        name: "fan-out-50",
        about: "transient 16 B, confirm window 100, through a fanout exchange to 50 queues with a consumer each, auto-ack",
        load: || Load {
            consumers: 50,
            queues: queues(50),
            exchange: Some("ringmq-bench".into()),
            exchange_type: "fanout".into(),
            // Without a window the backlog of an hour is published in a minute.
            confirm_window: Some(100),
            auto_ack: true,
            ..Load::default()
        },
    },
    Scenario {
        name: "queues-1000",
        about: "persistent confirmed 1 KB to 1000 queues in turn, 1 producer, 10 consumers",
        load: || Load { consumers: 10, queues: queues(1000), spread: true, ..persistent() },
    },
    Scenario {
        name: "connections-500",
        about: "persistent confirmed 1 KB, 250 producers (window 10) and 250 consumers on 250 queues",
        load: || Load {
            producers: 250,
            consumers: 250,
            queues: queues(250),
            confirm_window: Some(10),
            prefetch: Some(100),
            ack_every: 10,
            ..persistent()
        },
    },
];

fn persistent() -> Load {
    Load {
        size: 1024,
        persistent: true,
        confirm_window: Some(1000),
        prefetch: Some(1000),
        ack_every: 100,
        ..Load::default()
    }
}

fn queues(count: usize) -> Vec<String> {
    (1..=count).map(|index| format!("ringmq-bench-{index}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_run_and_has_its_own_name() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            scenario.load().check().unwrap();
            assert!(SCENARIOS[..index].iter().all(|other| other.name != scenario.name));
            assert_eq!(Scenario::find(scenario.name).unwrap().name, scenario.name);
        }
        assert!(Scenario::find("none").is_none());
    }
}
