//! Lists of CPUs as Linux writes them: `0,2-3`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Numbers of CPUs, ascending, without repetition, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(BTreeSet<usize>);

/// Why a text is not a list of CPUs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// No CPU at all.
    #[error("the list names no CPU")]
    Empty,
    /// A part that is neither a number nor a range.
    #[error("`{0}` is not a CPU number or a range such as 2-5 (numbers below {MAX_CPUS})")]
    Part(String),
}

/// One more than the largest CPU number accepted: what an affinity mask can hold.
pub(super) const MAX_CPUS: usize = rustix::thread::CpuSet::MAX_CPU;

impl CpuList {
    /// A list of the given CPUs, if there is any.
    pub fn new(cpus: impl IntoIterator<Item = usize>) -> Option<Self> {
        let cpus: BTreeSet<usize> = cpus.into_iter().collect();
        (!cpus.is_empty()).then_some(Self(cpus))
    }

    /// How many CPUs it names, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if `other` names all of these.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl From<CpuList> for Vec<usize> {
    fn from(list: CpuList) -> Self {
        list.0.into_iter().collect()
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last && last < MAX_CPUS => cpus.extend(first..=last),
                _ => return Err(CpuListError::Part(part.to_owned())),
            }
        }
        Self::new(cpus).ok_or(CpuListError::Empty)
    }
}

/// The shortest form, with ranges.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for &cpu in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        for (index, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &[usize]) {
        assert_eq!(Vec::from(text.parse::<CpuList>().unwrap()), expect);
    }

    #[test]
    fn numbers_and_ranges_in_any_order() {
        check("0", &[0]);
        check("3,0-1", &[0, 1, 3]);
        check(" 1 - 2 , 2,", &[1, 2]);
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        assert_eq!("".parse::<CpuList>(), Err(CpuListError::Empty));
        for text in ["x", "2-1", "1-", "-1", "1-2-3", "0,99999", "0-18446744073709551615"] {
            assert!(matches!(text.parse::<CpuList>(), Err(CpuListError::Part(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(cpus in proptest::collection::btree_set(0..MAX_CPUS, 1..40)) {
            let list = CpuList::new(cpus).unwrap();
            prop_assert_eq!(list.to_string().parse::<CpuList>().unwrap(), list);
        }
    }
}
