//! Names that the broker makes up: `amq.gen-...` for queues, `amq.ctag-...` for consumers.

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Generates names from a seed: two generators with different seeds make different names.
#[derive(Debug)]
pub(crate) struct NameGenerator {
    state: u128,
}

impl NameGenerator {
    /// `seed` must be random and different for each shard and each start of the broker.
    pub(crate) fn new(seed: u128) -> Self {
        Self { state: seed }
    }

    /// `prefix`, a hyphen and 22 characters of base64 (URL alphabet) that stand for 16 bytes.
    pub(crate) fn generate(&mut self, prefix: &str) -> String {
        // A Weyl sequence never repeats within 2^128 names; the mixing makes neighbours look unrelated.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut bits = mix(self.state);
        let mut name = String::with_capacity(prefix.len() + 23);
        name.push_str(prefix);
        name.push('-');
        for _ in 0..22 {
            bits = bits.rotate_left(6);
            name.push(char::from(BASE64_URL[usize::from(bits.to_le_bytes()[0] & 63)]));
        }
        name
    }
}

/// A bijection on 128 bits whose every output bit depends on every input bit.
fn mix(mut value: u128) -> u128 {
    for _ in 0..3 {
        value ^= value >> 67;
        value = value.wrapping_mul(0xda94_2042_e4dd_58b5_94d0_49bb_1331_11eb);
        value ^= value >> 59;
    }
    value
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
