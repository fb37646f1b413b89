//! Keys that mean nothing here.

/// Keys of RabbitMQ that are accepted so that its files can be read, and change nothing; with the reason.
pub(super) const WITHOUT_EFFECT: [(&str, &str); 16] = [
    ("cluster_name", "there is one node"),
    ("cluster_partition_handling", "there is one node"),
    ("collect_statistics", "statistics are always collected"),
    ("collect_statistics_interval", "statistics are read when somebody asks"),
    ("disk_monitor.$name", "the disk is looked at every second"),
    ("management_agent.$name", "there is no agent"),
    ("memory_monitor_interval", "memory is looked at every second"),
    ("mnesia_table_loading_retry_limit", "there is no Mnesia"),
    ("mnesia_table_loading_retry_timeout", "there is no Mnesia"),
    ("num_acceptors.$name", "every shard accepts"),
    ("queue_leader_locator", "there is one node"),
    ("queue_master_locator", "there is one node"),
    ("reverse_dns_lookups", "names are not looked up"),
    ("tcp_listen_options.$name", "sockets have TCP_NODELAY and the system's other defaults"),
    ("vm_memory_calculation_strategy", "resident memory counts"),
    ("vm_memory_high_watermark_paging_ratio", "messages are on disk at any time"),
];
