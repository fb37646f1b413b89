//! A run from beginning to end: prepare the broker, put it under load, judge what came back, tidy up.

use std::time::Duration;

use amq_protocol::uri::AMQPUri;
use anyhow::{Context, Result, anyhow};

use crate::{
    body::STAMP_BYTES,
    client::Client,
    consumer::Consumer,
    engine::{Engine, per_second},
    link::{Link, Role},
    load::{Load, Route},
    metrics::Metrics,
    producer::Producer,
    report::{Observer, Report},
    score::Score,
    verify::Verifier,
};

/// Runs a workload. An error means that it could not begin; whatever goes wrong under load is in the report.
pub fn run(load: &Load, observer: &mut Observer<'_>) -> Result<Report> {
    load.check()?;
    let uri: AMQPUri = load.uri.parse().map_err(|e| anyhow!("--uri: {e}"))?;
    let mut control = Client::connect(&uri, "ringmq-bench control")?;
    control.prepare(load)?;
    control.close()?;

    let routes = load.routes();
    let metrics = load.metrics.as_deref().map(Metrics::serve).transpose()?;
    let score = Score::new(verifier(load, &routes), metrics)?;
    let links = connect_all(load, &uri, &routes)?;
    let mut engine = Engine::new(load, links, score)?;
    let mut intervals = Vec::new();
    let outcome = engine.run(&mut |interval| {
        observer(interval);
        intervals.push(interval.clone());
    });

    let mut report = judge(load, &engine, outcome);
    report.intervals = intervals;
    drop(engine);
    if let Err(e) = finish(load, &uri, &mut report) {
        report.failures.push(format!("afterwards: {e:#}"));
    }
    Ok(report)
}

fn verifier(load: &Load, routes: &[Route]) -> Verifier {
    let mut route_of_queue = vec![0; load.queues.len()];
    for (index, route) in routes.iter().enumerate() {
        for queue in &route.queues {
            route_of_queue[*queue] = index;
        }
    }
    Verifier::new(route_of_queue, load.producers, load.size, load.producers == 0)
}

/// The producers' connections, then the consumers'.
fn connect_all(load: &Load, uri: &AMQPUri, routes: &[Route]) -> Result<Vec<Link>> {
    let mut links = Vec::with_capacity(load.producers + load.consumers);
    for index in 0..load.producers {
        let mut client = Client::connect(uri, &format!("ringmq-bench producer {index}"))?;
        if load.confirm_window.is_some() {
            client.select_confirms()?;
        }
        let frame_max = client.frame_max();
        let (stream, received) = client.into_parts();
        let role = Role::Producer(Producer::new(load, routes, index, frame_max)?);
        links.push(Link::new(stream, received, frame_max, role, Vec::new())?);
    }
    for index in 0..load.consumers {
        let mut client = Client::connect(uri, &format!("ringmq-bench consumer {index}"))?;
        for (prefetch, global) in [(load.prefetch, false), (load.channel_prefetch, true)] {
            prefetch.map_or(Ok(()), |prefetch| client.set_prefetch(prefetch, global))?;
        }
        let frame_max = client.frame_max();
        let (stream, received) = client.into_parts();
        let (consumer, start) = Consumer::new(load, index)?;
        links.push(Link::new(stream, received, frame_max, Role::Consumer(consumer), start)?);
    }
    Ok(links)
}

fn judge(load: &Load, engine: &Engine<'_>, outcome: Result<()>) -> Report {
    let score = &engine.score;
    let (counts, verdict) = (score.counts, score.verifier.verdict());
    let first_us = score.first_published_us.or(score.first_delivered_us).unwrap_or(engine.started_us);
    let seconds_to = |us: u64| Duration::from_micros(us.saturating_sub(first_us)).as_secs_f64();
    let publish_seconds = seconds_to(score.last_published_us);
    let total_seconds = publish_seconds.max(seconds_to(score.last_delivered_us));
    let messages = counts.published.max(counts.delivered);
    let judges_loss = load.consumers > 0 && load.producers > 0 && load.consume_count.is_none();
    Report {
        scenario: None,
        load: load.clone(),
        publish_seconds,
        total_seconds,
        published: counts.published,
        confirmed: counts.confirmed,
        nacked: counts.nacked,
        returned: counts.returned,
        expected: score.verifier.expected(),
        received: score.verifier.received(),
        redelivered: verdict.redelivered,
        duplicated: verdict.duplicated,
        reordered: verdict.reordered,
        corrupt: verdict.corrupt,
        lost: if judges_loss { engine.unaccounted() } else { 0 },
        published_per_second: per_second(counts.published, publish_seconds),
        received_per_second: per_second(score.verifier.received(), total_seconds),
        confirm_latency_us: score.confirm_latency.total(),
        deliver_latency_us: score.deliver_latency.total(),
        messages,
        broker: engine.broker.as_ref().map(|watch| watch.used(messages)),
        generator: engine.generator.used(messages),
        verified_by_body: load.size >= STAMP_BYTES,
        intervals: Vec::new(),
        failures: failures(engine, outcome, judges_loss),
    }
}

fn failures(engine: &Engine<'_>, outcome: Result<()>, judges_loss: bool) -> Vec<String> {
    let verdict = engine.score.verifier.verdict();
    let mut failures: Vec<_> = outcome.err().map(|e| format!("{e:#}")).into_iter().collect();
    if judges_loss && engine.unaccounted() > 0 {
        let first = engine.score.verifier.first_missing().unwrap_or_else(|| "without numbers".into());
        failures.push(format!("{} messages did not arrive (the first: {first})", engine.unaccounted()));
    }
    let others = [
        (verdict.duplicated, "messages arrived twice without being marked as redelivered"),
        (verdict.reordered, "messages arrived after a later one of their producer"),
        (verdict.corrupt, "messages arrived with a wrong checksum or size, or were never sent"),
        (u64::try_from(engine.unconfirmed()).unwrap_or(u64::MAX), "messages were not confirmed"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        failures.push(format!("{count} {what}"));
    }
    failures
}

/// Compares what is in the queues with what was confirmed if nobody consumed, and deletes what was made.
fn finish(load: &Load, uri: &AMQPUri, report: &mut Report) -> Result<()> {
    let mut control = Client::connect(uri, "ringmq-bench control")?;
    let countable = load.consumers == 0 && load.confirm_window.is_some() && load.purge && !load.predeclared;
    if countable && report.passed() && load.queue_arguments.is_empty() && load.headers.is_empty() {
        let mut ready = 0;
        for queue in &load.queues {
            ready += control.message_count(queue)?;
        }
        let refused = report.nacked + report.returned;
        if ready + refused < report.expected {
            report.lost = report.expected - refused - ready;
            report.failures.push(format!("{} confirmed messages are not in the queues", report.lost));
        }
    }
    if !load.predeclared && !load.keep {
        control.clean_up(load).context("cannot delete the queues")?;
    }
    control.close()
}
