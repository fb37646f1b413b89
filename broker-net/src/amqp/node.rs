//! What all connections of the broker share.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Census, Config};
use crate::logins::Logins;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Node {
    config: RwLock<Arc<Config>>,
    /// How many connections and channels there are.
    pub census: Census,
    /// Who tried to log in.
    pub logins: Logins,
    /// The broker's name, `ringmq@host`.
    pub name: String,
}

impl Node {
    /// A broker of the name, without connections.
    #[must_use]
    pub fn new(name: &str, config: Config) -> Self {
        Self { config: RwLock::new(Arc::new(config)), name: name.to_owned(), ..Self::default() }
    }

    /// What connections offer and enforce. Asked when a connection or channel opens, never for a message.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what connections offer and enforce. Those that are open keep what they have agreed on.
    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
