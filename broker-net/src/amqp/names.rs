//! Names that the broker makes up: `amq.gen-...` for queues, `amq.ctag-...` for consumers.

use sha2::{Digest, Sha256};

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Generates names from a seed: who sees some of them can guess no other, as reply names and exclusive queues want it.
#[derive(Debug)]
pub(crate) struct NameGenerator {
    seed: u128,
    count: u64,
}

impl NameGenerator {
    /// `seed` must be random and different for each shard and each start of the broker.
    pub(crate) fn new(seed: u128) -> Self {
        Self { seed, count: 0 }
    }

    /// `prefix`, a hyphen and a [`secret`](Self::secret).
    pub(crate) fn generate(&mut self, prefix: &str) -> String {
        format!("{prefix}-{}", self.secret())
    }

    /// 22 characters of base64 (URL alphabet) that stand for 16 bytes.
    pub(crate) fn secret(&mut self) -> String {
        self.count += 1;
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(self.count.to_le_bytes());
        let digest = digest.finalize();
        let mut bits = digest.iter().take(16).fold(0, |bits: u128, byte| (bits << 8) | u128::from(*byte));
        let mut name = String::with_capacity(22);
        for _ in 0..22 {
            bits = bits.rotate_left(6);
            name.push(char::from(BASE64_URL[usize::from(bits.to_le_bytes()[0] & 63)]));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_have_the_form_of_rabbitmq() {
        let mut generator = NameGenerator::new(7);
        let mut other = NameGenerator::new(8);
        let names: HashSet<String> =
            (0..1000).flat_map(|_| [generator.generate("amq.gen"), other.generate("amq.gen")]).collect();
        assert_eq!(names.len(), 2000);
        assert!(names.iter().all(|name| name.starts_with("amq.gen-") && name.len() == 30));
    }
}
