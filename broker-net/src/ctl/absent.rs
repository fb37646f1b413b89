//! Verbs of RabbitMQ's command line tools that mean nothing to one process without an Erlang runtime.

/// Why there is no such verb; `None` for a word that is no verb of RabbitMQ either.
pub(super) fn reason(verb: &str) -> Option<&'static str> {
    ABSENT.iter().find(|(verbs, _)| verbs.split_whitespace().any(|one| one == verb)).map(|(_, reason)| *reason)
}

const ABSENT: &[(&str, &str)] = &[
    (
        "join_cluster forget_cluster_node change_cluster_node_type force_boot force_reset force_standalone_khepri_boot \
         rename_cluster_node update_cluster_nodes grow shrink add_member delete_member add_replica delete_replica \
         restart_stream coordinator_status grow_to_count shrink_to_count \
         set_stream_retention_policy transfer_leadership rebalance \
         sync_queue cancel_sync_queue reconcile_vhosts remove_classic_queue_mirroring_from_policies force_checkpoint \
         check_if_cluster_has_classic_queue_mirroring_policy",
        "RingMQ is one node: there is no cluster, and queues and streams have no replicas",
    ),
    (
        "reset",
        "the broker cannot be emptied while it runs: stop it and delete its data directory, or delete its virtual hosts",
    ),
    (
        "stop_app start_app",
        "the broker is one process without a part that could be stopped alone: stop or start the process",
    ),
    (
        "eval eval_file exec force_gc observer remote_shell runtime_thread_stats maybe_stuck consume_event_stream schema_info \
         erlang_version erlang_cookie_hash erlang_cookie_sources resolver_info resolve_hostname reset_stats_db \
         reclaim_quorum_memory remote_pid metadata_store_status",
        "there is no Erlang runtime",
    ),
    (
        "encode decode encrypt_conf_value decrypt_conf_value list_ciphers list_hashes",
        "the configuration has no encrypted values",
    ),
    (
        "enable disable set_plugins plugins list_stream_connections list_stream_consumers list_stream_publishers \
         list_stream_consumer_groups list_stream_group_consumers list_stream_tracking activate_stream_consumer add_super_stream \
         delete_super_stream federation_status restart_federation_link shovel_status restart_shovel delete_shovel",
        "there are no plugins",
    ),
    ("trace_on trace_off", "there is no tracing exchange"),
    (
        "drain revive suspend_listeners resume_listeners post_upgrade",
        "the broker has no maintenance mode: stop it",
    ),
    ("message_size_stats", "the sizes of messages are in the metrics: rabbitmq_message_size_bytes"),
    ("restart_vhost", "a virtual host does not fail by itself"),
    ("enable_feature_flag", "there are no feature flags: all features are on"),
    ("rotate_logs", "This command does not rotate logs anymore [deprecated]"),
    ("peek", "reading a queue from its middle is not there: `basic.get` and the API's `get` read its head"),
    (
        "activate_free_disk_space_monitoring deactivate_free_disk_space_monitoring",
        "free disk space is always watched: set_disk_free_limit sets where the alarm begins",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_of_rabbitmq_has_a_reason_and_another_word_has_none() {
        assert_eq!(reason("eval"), Some("there is no Erlang runtime"));
        assert_eq!(reason("join_clusters"), None);
    }
}
