//! Users and their password hashes, in RabbitMQ's format, so that exported definitions can be imported.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// Bytes of salt in front of a hash.
const SALT_BYTES: usize = 4;

/// How a password is hashed. The names are those of exported definitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashingAlgorithm {
    /// Salted SHA-256, the default.
    #[default]
    #[serde(rename = "rabbit_password_hashing_sha256")]
    Sha256,
    /// Salted SHA-512.
    #[serde(rename = "rabbit_password_hashing_sha512")]
    Sha512,
    /// Salted MD5, of old definitions.
    #[serde(rename = "rabbit_password_hashing_md5")]
    Md5,
    /// bcrypt, of LavinMQ's definitions, with a cost up to [`MAX_BCRYPT_COST`]. Nothing is hashed anew with it.
    #[serde(rename = "Bcrypt", alias = "bcrypt")]
    Bcrypt,
}

/// What a bcrypt hash may cost to check: a shard does nothing else meanwhile. LavinMQ's cost 4, a millisecond; 6 are four.
pub const MAX_BCRYPT_COST: u32 = 6;

/// A user, as the catalog stores it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDefinition {
    /// The name.
    pub name: String,
    /// Base64 of salt and hash; empty: the user cannot log in with a password.
    pub password_hash: String,
    /// How `password_hash` was made.
    #[serde(default)]
    pub hashing_algorithm: HashingAlgorithm,
    /// `administrator`, `monitoring`, `policymaker`, `management`, `impersonator` and any others.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl fmt::Debug for UserDefinition {
    /// All but the hash of the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, password_hash: _, hashing_algorithm, tags } = self;
        let mut user = f.debug_struct("UserDefinition");
        user.field("name", name).field("hashing_algorithm", hashing_algorithm).field("tags", tags);
        user.finish_non_exhaustive()
    }
}

impl UserDefinition {
    /// A user with a password. `salt` is random.
    #[must_use]
    pub fn with_password(name: &str, password: &[u8], salt: [u8; SALT_BYTES], tags: &[&str]) -> Self {
        let hashing_algorithm = HashingAlgorithm::default();
        Self {
            name: name.to_owned(),
            password_hash: hashing_algorithm.hash_password(password, salt),
            hashing_algorithm,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    /// True if this is the user's password. An empty password never is. The time taken does not tell how much of
    /// the hash was right.
    #[must_use]
    pub fn verify_password(&self, password: &[u8]) -> bool {
        if self.hashing_algorithm == HashingAlgorithm::Bcrypt {
            return !password.is_empty()
                && self.hashing_algorithm.check_hash(&self.password_hash).is_ok()
                && bcrypt::verify(password, &self.password_hash).unwrap_or_default();
        }
        let Ok(stored) = STANDARD.decode(&self.password_hash) else {
            return false;
        };
        let Some((salt, stored)) = stored.split_first_chunk() else {
            return false;
        };
        let hash = self.hashing_algorithm.digest(*salt, password);
        !password.is_empty() && equal_in_constant_time(&hash, stored)
    }

    /// True if the user has the tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

impl HashingAlgorithm {
    /// base64(salt ++ hash(salt ++ password)), RabbitMQ's `password_hash`.
    #[must_use]
    pub fn hash_password(self, password: &[u8], salt: [u8; SALT_BYTES]) -> String {
        STANDARD.encode([&salt[..], &self.digest(salt, password)].concat())
    }

    /// Checks that a stored hash is one of this algorithm's; an empty one always is.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_hash(self, password_hash: &str) -> Result<(), String> {
        if password_hash.is_empty() {
            return Ok(());
        }
        if self != Self::Bcrypt {
            return STANDARD.decode(password_hash).map(drop).map_err(|_| "not base64".to_owned());
        }
        let parts: bcrypt::HashParts = password_hash.parse().map_err(|_| "not a bcrypt hash".to_owned())?;
        match parts.get_cost() {
            cost if cost > MAX_BCRYPT_COST => {
                Err(format!("a bcrypt hash of cost {cost}: up to {MAX_BCRYPT_COST} are supported"))
            }
            _ => Ok(()),
        }
    }

    fn digest(self, salt: [u8; SALT_BYTES], password: &[u8]) -> Vec<u8> {
        match self {
            // No salt of four bytes would do, so what is new is hashed like the default.
            Self::Bcrypt => Self::default().digest(salt, password),
            Self::Sha256 => Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Self::Md5 => Md5::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Self::Sha512 => Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec(),
        }
    }
}

fn equal_in_constant_time(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other));
    // The compiler must not see that one set bit decides.
    one.len() == other.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_rabbitmqs() {
        // The example in RabbitMQ's documentation of password hashing.
        let salt = [0x90, 0x8d, 0xc6, 0x0a];
        let hash = HashingAlgorithm::Sha256.hash_password(b"test12", salt);
        assert_eq!(hash, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn only_the_password_verifies() {
        for hashing_algorithm in [HashingAlgorithm::Sha256, HashingAlgorithm::Sha512, HashingAlgorithm::Md5] {
            let mut user = UserDefinition::with_password("u", b"secret", [1, 2, 3, 4], &["administrator"]);
            user.hashing_algorithm = hashing_algorithm;
            user.password_hash = hashing_algorithm.hash_password(b"secret", [1, 2, 3, 4]);
            assert!(user.verify_password(b"secret"));
            assert!(!user.verify_password(b"Secret"));
            assert!(!user.verify_password(b""));
            assert!(user.has_tag("administrator") && !user.has_tag("monitoring"));
        }
    }

    #[test]
    fn lavinmqs_bcrypt_hashes_verify() {
        let user = |password_hash: &str| UserDefinition {
            name: "u".to_owned(),
            password_hash: password_hash.to_owned(),
            hashing_algorithm: serde_json::from_str("\"Bcrypt\"").unwrap(),
            tags: Vec::new(),
        };
        let known = bcrypt::hash_with_salt(b"hej", 4, [7; 16]).unwrap().to_string();
        assert!(user(&known).verify_password(b"hej"));
        assert!(!user(&known).verify_password(b"he") && !user(&known).verify_password(b""));
        let slow = known.replacen("$04$", "$12$", 1);
        assert!(!user(&slow).verify_password(b"hej"));
        let check = |hash: &str| HashingAlgorithm::Bcrypt.check_hash(hash);
        assert_eq!(check(&slow), Err("a bcrypt hash of cost 12: up to 6 are supported".to_owned()));
        assert!(check("nonsense").is_err() && check("").is_ok() && check(&known).is_ok());
    }

    #[test]
    fn users_without_usable_hash_cannot_log_in() {
        let mut user = UserDefinition::with_password("u", b"", [0; 4], &[]);
        assert!(!user.verify_password(b""), "an empty password is no password");
        for hash in ["", "????", "AAAA", "AAAAAAAA"] {
            user.password_hash = hash.into();
            assert!(!user.verify_password(b"x") && !user.verify_password(b""), "{hash:?}");
        }
    }

    #[test]
    fn the_hash_is_not_printed() {
        let user = UserDefinition::with_password("guest", b"guest", [9, 8, 7, 6], &["administrator"]);
        let printed = format!("{user:?}");
        assert!(printed.contains("guest") && !printed.contains(&user.password_hash), "{printed}");
    }

    #[test]
    fn definition_survives_json() {
        let user = UserDefinition::with_password("guest", b"guest", [9, 8, 7, 6], &["administrator"]);
        let json = serde_json::to_string(&user).unwrap();
        assert!(json.contains(r#""hashing_algorithm":"rabbit_password_hashing_sha256""#), "{json}");
        assert_eq!(serde_json::from_str::<UserDefinition>(&json).unwrap(), user);
    }
}
