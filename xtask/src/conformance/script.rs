//! Scenarios: files of steps and, below each step, the answers that RabbitMQ 4.0.5 gave to it.
//!
//! ```text
//! == a passive declare of a missing queue
//! open a
//! a1 queue.declare queue=~q passive
//! < a1 channel.close reply-code=404 reply-text="NOT_FOUND - no queue '~q' in vhost '/'" class-id=50 method-id=10
//! ```
//!
//! `<` is the answer of both brokers. Where RingMQ means to differ, the scenario says why in a line `differs: ...`, and answers begin
//! with `<rabbitmq` and `<ringmq`. Where releases of RabbitMQ before 4 differ, a line `older: ...` says how.

use std::fmt::Write as _;

use anyhow::{bail, ensure};

/// A file of scenarios.
#[derive(Debug, PartialEq)]
pub(super) struct Script {
    /// What stands above the first scenario.
    preamble: String,
    pub(super) scenarios: Vec<Scenario>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scenario {
    pub(super) title: String,
    /// Comments, in front of the steps.
    comments: Vec<String>,
    /// Why RingMQ answers otherwise than RabbitMQ.
    pub(super) differs: Option<String>,
    /// How RabbitMQ before 4 answers.
    pub(super) older: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// A line of a script with the answers to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) line: String,
    /// The line's number in its file.
    pub(super) number: usize,
    pub(super) rabbitmq: Vec<String>,
    pub(super) ringmq: Vec<String>,
}

impl Script {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut script = Self { preamble: String::new(), scenarios: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            if let Some(title) = line.strip_prefix("== ") {
                script.scenarios.push(Scenario { title: title.to_owned(), ..Scenario::default() });
                continue;
            }
            match script.scenarios.last_mut() {
                Some(scenario) => scenario.line(line.trim(), index + 1)?,
                None => {
                    script.preamble.push_str(line);
                    script.preamble.push('\n');
                }
            }
        }
        Ok(script)
    }

    /// The text that [`Script::parse`] reads.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.preamble.trim_end());
        for scenario in &self.scenarios {
            scenario.write(&mut text);
        }
        text
    }
}

impl Scenario {
    fn line(&mut self, line: &str, number: usize) -> anyhow::Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            self.comments.push(comment.trim().to_owned());
        } else if let Some(reason) = line.strip_prefix("differs:") {
            self.differs = Some(reason.trim().to_owned());
        } else if let Some(reason) = line.strip_prefix("older:") {
            self.older = Some(reason.trim().to_owned());
        } else if let Some(answer) = line.strip_prefix('<') {
            let Some(step) = self.steps.last_mut() else { bail!("line {number}: an answer without a step") };
            let Some((whose, answer)) = answer.split_once(' ') else { bail!("line {number}: an empty answer") };
            ensure!(matches!(whose, "" | "rabbitmq" | "ringmq"), "line {number}: whose answer is it?");
            if whose != "ringmq" {
                step.rabbitmq.push(answer.to_owned());
            }
            if whose != "rabbitmq" {
                step.ringmq.push(answer.to_owned());
            }
        } else {
            self.steps.push(Step { line: line.to_owned(), number, ..Step::default() });
        }
        Ok(())
    }

    fn write(&self, text: &mut String) {
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("\n== {}", self.title));
        self.comments.iter().for_each(|comment| line(format!("# {comment}")));
        self.differs.iter().for_each(|reason| line(format!("differs: {reason}")));
        self.older.iter().for_each(|reason| line(format!("older: {reason}")));
        for step in &self.steps {
            line(step.line.clone());
            if step.rabbitmq == step.ringmq {
                step.rabbitmq.iter().for_each(|answer| line(format!("< {answer}")));
            } else {
                step.rabbitmq.iter().for_each(|answer| line(format!("<rabbitmq {answer}")));
                step.ringmq.iter().for_each(|answer| line(format!("<ringmq {answer}")));
            }
        }
    }

    /// Where the answers of a run differ from the recorded ones, in words; `None` if they do not.
    pub(super) fn compare(
        &self,
        answers: &[Vec<String>],
        recorded: impl Fn(&Step) -> &Vec<String>,
    ) -> Option<String> {
        for (step, answers) in self.steps.iter().zip(answers) {
            if recorded(step) != answers {
                let mut words = format!("    line {}: {}\n", step.number, step.line);
                for (name, lines) in [("expected", recorded(step)), ("answered", answers)] {
                    for line in lines {
                        let _ = writeln!(words, "      {name}  {line}");
                    }
                    if lines.is_empty() {
                        let _ = writeln!(words, "      {name}  (nothing)");
                    }
                }
                return Some(words);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A file.\n\n== first\n# why\nolder: 3.10 is odd\nopen a\na1 queue.declare queue=~q\n< a1 x\n\n== second\ndiffers: better\nopen a\n<rabbitmq y\n<ringmq z\n";

    #[test]
    fn a_script_is_the_same_after_reading_and_writing() {
        assert_eq!(Script::parse(TEXT).unwrap().text(), TEXT);
    }

    #[test]
    fn a_difference_is_told_with_its_line() {
        let script = Script::parse(TEXT).unwrap();
        let scenario = &script.scenarios[1];
        assert_eq!(scenario.compare(&[vec!["z".into()]], |step| &step.ringmq), None);
        let told = scenario.compare(&[vec!["z".into()]], |step| &step.rabbitmq).unwrap();
        assert_eq!(told, "    line 12: open a\n      expected  y\n      answered  z\n");
    }
}
