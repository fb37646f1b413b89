//! What all queues are called, sorted, so that a page of a hundred thousand costs the shards no more than a page.
//!
//! Names change seldom and pages are asked for often: the list is kept, and a shard lists its queues anew only when it has made or
//! removed one since.

use std::sync::Arc;

use broker_core::admin::{Admin, AdminError, QueueName};
use broker_core::ids::ShardId;

use super::listing::Row;

/// The names as they were when somebody last asked.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// [`Admin::queue_changes`] of each shard whose queues are in `names`.
    changes: Vec<u64>,
    /// By virtual host and name.
    names: Arc<Vec<QueueName>>,
}

impl Row for QueueName {
    fn name(&self) -> &str {
        &self.name
    }

    fn vhost(&self) -> &str {
        &self.vhost
    }
}

impl Directory {
    /// The names of all queues, by virtual host and name.
    pub(super) async fn names(&mut self, admin: &Admin) -> Result<Arc<Vec<QueueName>>, AdminError> {
        for index in 0..admin.shards() {
            let shard = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
            let changes = admin.queue_changes(shard).await?;
            if self.changes.get(index) == Some(&changes) {
                continue;
            }
            let of_shard = admin.queue_names(shard).await?;
            let names = Arc::make_mut(&mut self.names);
            names.retain(|name| name.shard != shard);
            names.extend(of_shard);
            names.sort_unstable_by(|one, other| (&one.vhost, &one.name).cmp(&(&other.vhost, &other.name)));
            match self.changes.get_mut(index) {
                Some(known) => *known = changes,
                None => self.changes.push(changes),
            }
        }
        Ok(Arc::clone(&self.names))
    }
}
