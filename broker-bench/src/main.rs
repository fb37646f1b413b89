//! `ringmq-bench`: puts an AMQP broker under load, and ends in exit code 1 if the broker did wrong.

use std::{
    fs::File,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use broker_bench::{Interval, Options, Report, SCENARIOS, run};
use rustix::thread::{CpuSet, sched_setaffinity};

fn main() -> ExitCode {
    match execute() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            let _ = writeln!(io::stderr(), "ringmq-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> Result<bool> {
    let options = Options::read();
    let out = &mut io::stdout();
    if options.scenarios {
        for scenario in SCENARIOS {
            writeln!(out, "{:<20} {}", scenario.name, scenario.about)?;
        }
        return Ok(true);
    }
    options.cpu.map_or(Ok(()), pin)?;
    let (load, scenario) = options.load()?;
    Interval::write_titles(out)?;
    let mut report = run(&load, &mut |interval| {
        // A closed pipe is no reason to stop measuring.
        let _ = interval.write_row(&mut io::stdout());
    })?;
    report.scenario = scenario;
    report.write_summary(out)?;
    if let Some(path) = &load.json {
        write_json(&report, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.passed())
}

/// Keeps this thread, and those it starts, on one CPU.
fn pin(cpu: usize) -> Result<()> {
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot run on CPU {cpu}"))
}

fn write_json(report: &Report, path: &std::path::Path) -> Result<()> {
    let mut file = File::create(path)?;
    serde_json::to_writer_pretty(&mut file, report)?;
    Ok(writeln!(file)?)
}
