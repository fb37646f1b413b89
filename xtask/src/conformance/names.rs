//! What differs from run to run: names made by the broker, the prefix of a scenario's own names, times.

/// Beginnings of names that a broker makes.
const MADE: [&str; 3] = ["amq.gen-", "amq.ctag-", "amq.rabbitmq.reply-to."];

/// The names of one run of a scenario. In scripts and transcripts `~` stands for the prefix of all names of the scenario,
/// and `amq.gen-#2` for the second queue name that the broker has made.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    /// Per entry of [`MADE`], in the order of their appearance.
    made: [Vec<String>; MADE.len()],
}

impl Names {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, made: Default::default() }
    }

    /// A line of a script with the names that the broker knows.
    pub(super) fn reveal(&self, line: &str) -> String {
        let mut line = line.replace('~', &self.prefix);
        for (start, made) in MADE.iter().zip(&self.made) {
            for (index, name) in made.iter().enumerate() {
                line = line.replace(&format!("{start}#{}", index + 1), name);
            }
        }
        line
    }

    /// A line of a broker with the names of scripts.
    pub(super) fn hide(&mut self, line: &str) -> String {
        let mut line = line.replace(&self.prefix, "~");
        for (start, made) in MADE.iter().zip(&mut self.made) {
            let mut hidden = String::new();
            let mut rest = line.as_str();
            while let Some((before, after)) = rest.split_once(start) {
                let end = after.find(|c: char| !is_made_of(c)).unwrap_or(after.len());
                let name = format!("{start}{}", &after[..end]);
                let index = made.iter().position(|known| *known == name).unwrap_or(made.len());
                if index == made.len() {
                    made.push(name);
                }
                hidden.push_str(&format!("{before}{start}#{}", index + 1));
                rest = &after[end..];
            }
            hidden.push_str(rest);
            line = hidden;
        }
        hide_times(&line)
    }
}

fn is_made_of(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_=+/.".contains(c)
}

/// Replaces the times of `x-death`.
fn hide_times(line: &str) -> String {
    let mut parts = line.split("time: ");
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        hidden.push_str("time: ");
        match part.split_once(":T") {
            Some((digits, rest)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                hidden.push_str("now");
                hidden.push_str(rest);
            }
            _ => hidden.push_str(part),
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hidden_and_revealed() {
        let mut names = Names::new("c1.7.".into());
        assert_eq!(
            names.hide("no queue 'c1.7.q', amq.gen-A_b-1= amq.gen-B amq.gen-A_b-1="),
            "no queue '~q', amq.gen-#1 amq.gen-#2 amq.gen-#1"
        );
        assert_eq!(names.reveal("queue=~q amq.gen-#2"), "queue=c1.7.q amq.gen-B");
        assert_eq!(names.hide("[{reason: \"x\", time: 1790:T}]"), "[{reason: \"x\", time: now}]");
    }
}
