//! The verbs, as rabbitmqctl spells them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be asked for.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(super) enum Verb {
    /// Queues: name, messages, consumers, and any other field of the API
    ListQueues {
        /// Separated by spaces or commas
        columns: Vec<String>,
        /// Queues that are available: all are
        #[arg(long)]
        online: bool,
        /// Queues that are not available: none is
        #[arg(long)]
        offline: bool,
        /// Queues of this node: all are
        #[arg(long)]
        local: bool,
    },
    /// Queues that do not answer in time
    ListUnresponsiveQueues { columns: Vec<String> },
    /// Exchanges
    ListExchanges { columns: Vec<String> },
    /// Bindings
    ListBindings { columns: Vec<String> },
    /// Messages that an exchange holds back until they are due
    ListDelayedMessages {
        exchange_name: String,
        /// How many at the most
        #[arg(long, default_value_t = 100)]
        count: usize,
        columns: Vec<String>,
    },
    /// Connections
    ListConnections { columns: Vec<String> },
    /// Channels
    ListChannels { columns: Vec<String> },
    /// Consumers
    ListConsumers { columns: Vec<String> },
    /// Virtual hosts
    ListVhosts { columns: Vec<String> },
    /// Users and their tags
    ListUsers,
    /// Permissions in a virtual host
    ListPermissions,
    /// Permissions of a user
    ListUserPermissions { username: String },
    /// Topic permissions in a virtual host
    ListTopicPermissions,
    /// Topic permissions of a user
    ListUserTopicPermissions { username: String },
    /// Policies of a virtual host
    ListPolicies,
    /// Operator policies of a virtual host
    ListOperatorPolicies,
    /// Runtime parameters of a virtual host
    ListParameters,
    /// Global runtime parameters
    ListGlobalParameters,
    /// Limits of a virtual host, or of all with --global
    ListVhostLimits {
        #[arg(long)]
        global: bool,
    },
    /// Limits of a user, or of all with --global
    ListUserLimits {
        #[arg(long, default_value = "guest")]
        user: String,
        #[arg(long)]
        global: bool,
    },
    /// Feature flags: there are none
    ListFeatureFlags { columns: Vec<String> },
    /// Deprecated features: there are none
    ListDeprecatedFeatures {
        #[arg(long)]
        used: bool,
    },

    /// Makes a user
    AddUser {
        username: String,
        /// Read from standard input if it is not given
        password: Option<String>,
        /// What is given is a hash of the password, as hash_password prints it
        #[arg(long = "pre-hashed-password")]
        pre_hashed_password: bool,
    },
    /// Deletes a user
    DeleteUser { username: String },
    /// Sets a user's password
    ChangePassword {
        username: String,
        /// Read from standard input if it is not given
        password: Option<String>,
    },
    /// Takes a user's password away: the user cannot log in with one
    ClearPassword { username: String },
    /// Sets a user's tags; none takes them away
    SetUserTags { username: String, tags: Vec<String> },
    /// Checks a password
    AuthenticateUser {
        username: String,
        /// Read from standard input if it is not given
        password: Option<String>,
    },
    /// Hashes a password as definitions have it
    HashPassword {
        /// Read from standard input if it is not given
        password: Option<String>,
    },
    /// Sets what a user may configure, write and read in a virtual host
    SetPermissions { username: String, configure: String, write: String, read: String },
    /// Sets what a user may configure, write and read in every virtual host
    SetPermissionsGlobally { username: String, configure: String, write: String, read: String },
    /// Takes a user's permissions in a virtual host away
    ClearPermissions { username: String },
    /// Sets what routing keys a user may write and read with at an exchange
    SetTopicPermissions { username: String, exchange: String, write: String, read: String },
    /// Takes a user's topic permissions away
    ClearTopicPermissions { username: String, exchange: Option<String> },
    /// Sets limits of a user: '{"max-channels": 100}'
    SetUserLimits { username: String, definition: String },
    /// Takes a limit of a user away; `all` for all of them
    ClearUserLimits { username: String, limit: String },

    /// Makes a virtual host
    AddVhost {
        vhost_name: String,
        #[command(flatten)]
        metadata: Metadata,
    },
    /// Changes what a virtual host says of itself
    UpdateVhostMetadata {
        vhost_name: String,
        #[command(flatten)]
        metadata: Metadata,
    },
    /// Sets the tags of a virtual host
    SetVhostTags { vhost_name: String, tags: Vec<String> },
    /// Deletes a virtual host with all that is in it
    DeleteVhost { vhost_name: String },
    /// Keeps a virtual host from being deleted
    EnableVhostProtectionFromDeletion { vhost_name: String },
    /// Lets a virtual host be deleted again
    DisableVhostProtectionFromDeletion { vhost_name: String },
    /// Sets limits of a virtual host: '{"max-connections": 100}'
    SetVhostLimits { definition: String },
    /// Takes all limits of a virtual host away
    ClearVhostLimits,
    /// Makes or replaces a policy
    SetPolicy(Policy),
    /// Deletes a policy
    ClearPolicy { name: String },
    /// Makes or replaces an operator policy
    SetOperatorPolicy(Policy),
    /// Deletes an operator policy
    ClearOperatorPolicy { name: String },
    /// Sets a runtime parameter
    SetParameter { component: String, name: String, value: String },
    /// Deletes a runtime parameter
    ClearParameter { component: String, name: String },
    /// Sets a global runtime parameter
    SetGlobalParameter { name: String, value: String },
    /// Deletes a global runtime parameter
    ClearGlobalParameter { name: String },
    /// Deletes a queue
    DeleteQueue {
        queue_name: String,
        #[arg(long = "if-empty", short = 'e')]
        if_empty: bool,
        #[arg(long = "if-unused", short = 'u')]
        if_unused: bool,
    },
    /// Deletes the messages of a queue
    PurgeQueue { queue_name: String },
    /// Has a queue deliver nothing to consumers
    PauseQueue { queue_name: String },
    /// Has a paused queue go on
    ResumeQueue { queue_name: String },
    /// Moves ready messages of a queue to another queue or to an exchange
    MoveMessages {
        queue_name: String,
        /// The queue to which they go
        #[arg(long = "to-queue", conflicts_with = "to_exchange", required_unless_present = "to_exchange")]
        to_queue: Option<String>,
        /// The exchange to which they go
        #[arg(long = "to-exchange")]
        to_exchange: Option<String>,
        /// The routing key there; without it each message keeps its own
        #[arg(long = "routing-key", requires = "to_exchange")]
        routing_key: Option<String>,
        /// How many at the most
        #[arg(long)]
        count: Option<u64>,
    },
    /// Moves dead-lettered messages back to the queues, or exchanges, that they came from
    RedriveMessages {
        queue_name: String,
        /// `queue` or `exchange`
        #[arg(long, default_value = "queue")]
        to: String,
        /// How many at the most
        #[arg(long)]
        count: Option<u64>,
    },
    /// Has an exchange forget a message that it holds back, by its id
    CancelDelayedMessage { exchange_name: String, id: String },
    /// Has an exchange forget everything that it holds back
    CancelDelayedMessages { exchange_name: String },
    /// Closes a connection, by its name
    CloseConnection { connection: String, explanation: String },
    /// Closes all connections of a virtual host
    CloseAllConnections {
        explanation: String,
        /// Connections of all virtual hosts
        #[arg(long)]
        global: bool,
        /// No more than this many; 0 for all
        #[arg(long, default_value_t = 0)]
        limit: usize,
        /// Time between two, in milliseconds
        #[arg(long = "per-connection-delay", default_value_t = 0)]
        per_connection_delay: u64,
    },
    /// Closes all connections of a user
    CloseAllUserConnections { username: String, explanation: String },
    /// Writes all definitions to a file; `-` for standard output
    ExportDefinitions {
        path: PathBuf,
        #[arg(long, value_enum, default_value_t = DefinitionsFormat::Json)]
        format: DefinitionsFormat,
    },
    /// Reads definitions from a file, or from standard input. What is there already stays
    ImportDefinitions {
        path: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t = DefinitionsFormat::Json)]
        format: DefinitionsFormat,
        /// Accepted because scripts give it: importing twice is as importing once
        #[arg(long = "skip-if-unchanged")]
        skip_if_unchanged: bool,
    },
    /// Sets the name of the cluster
    SetClusterName { name: String },
    /// Sets what is logged, until the configuration is read again or the broker stops
    SetLogLevel {
        /// debug, info, warning, error, critical or none
        log_level: String,
    },
    /// Sets how much disk space has to be free, until the configuration is read again or the broker stops
    #[command(override_usage = "ringmqctl set_disk_free_limit <DISK_LIMIT> | mem_relative <FRACTION>")]
    SetDiskFreeLimit {
        /// A number of bytes, as 50MB; or `mem_relative` and a multiple of the memory
        #[arg(num_args = 1..=2, required = true, value_name = "DISK_LIMIT")]
        limit: Vec<String>,
    },
    /// Sets where the memory alarm begins, until the configuration is read again or the broker stops
    #[command(override_usage = "ringmqctl set_vm_memory_high_watermark <FRACTION> | absolute <VALUE>")]
    SetVmMemoryHighWatermark {
        /// A fraction of the memory; or `absolute` and a number of bytes, as 4GB
        #[arg(num_args = 1..=2, required = true, value_name = "FRACTION")]
        threshold: Vec<String>,
    },

    /// What the broker is and how it does
    Status {
        #[command(flatten)]
        unit: Unit,
    },
    /// The nodes of the cluster: one
    ClusterStatus,
    /// Everything that is asked for when help is wanted; passwords and messages are not in it
    Report,
    /// The configuration and facts that the broker runs with
    Environment,
    /// The version of RabbitMQ that these verbs are compatible with
    Version,
    /// The version of RabbitMQ that the broker is compatible with
    ServerVersion,
    /// Where the broker listens
    Listeners,
    /// What memory is used for
    MemoryBreakdown {
        #[command(flatten)]
        unit: Unit,
    },
    /// Where the log is
    LogLocation,
    /// The last lines of the log file
    LogTail {
        #[arg(short = 'N', long, default_value_t = 50)]
        number: usize,
    },
    /// Versions of TLS that the broker speaks
    TlsVersions,
    /// Cipher suites that the broker speaks
    CipherSuites,
    /// The environment variables that the broker has been started with
    OsEnv,
    /// The command line that the broker has been started with
    CommandLineArguments,
    /// Attempts to log in, by protocol
    ListNodeAuthAttemptStats {
        /// By the addresses whose failures still count
        #[arg(long = "by-source")]
        by_source: bool,
    },
    /// Counts attempts to log in anew, and refuses nobody for what was
    ResetNodeAuthAttemptMetrics,
    /// Free space on the disk of the data directory
    DiskInfo,
    /// The one replica of a quorum queue or stream
    #[command(alias = "stream_status")]
    QuorumStatus { queue: String },
    /// Alarms that are on
    Alarms,

    /// Waits until the broker answers
    AwaitStartup,
    /// Waits until the process of a PID file runs and answers
    Wait {
        pidfile: Option<PathBuf>,
        /// The process, instead of a file
        #[arg(short = 'P', long)]
        pid: Option<i32>,
    },
    /// Waits until so many nodes run: one
    AwaitOnlineNodes { count: usize },
    /// Waits until queues could lose this node: one node is never waited for
    AwaitOnlineQuorumPlusOne,
    /// Stops the broker and waits until it has ended; both have to be on one machine
    #[command(alias = "stop")]
    Shutdown,
    /// Has the broker read its configuration and certificates again; both have to be on one machine
    Reload,
    /// Does the broker answer?
    Ping,
    /// Is the broker running?
    #[command(alias = "is_running")]
    CheckRunning,
    /// Is the broker starting?
    IsBooting,
    /// Is no alarm on?
    CheckLocalAlarms,
    /// Is no alarm on?
    CheckAlarms,
    /// Are all virtual hosts running?
    CheckVirtualHosts,
    /// Does every listener accept connections?
    CheckPortConnectivity {
        /// The host to connect to [default: that of --url]
        #[arg(long)]
        address: Option<String>,
    },
    /// Does the broker listen on a port?
    CheckPortListener { port: String },
    /// Does the broker listen for a protocol?
    CheckProtocolListener { protocol: String },
    /// Does a certificate expire soon?
    CheckCertificateExpiration {
        #[arg(long, default_value_t = 4)]
        within: u32,
        /// days, weeks, months or years
        #[arg(long, default_value = "weeks")]
        unit: String,
    },
    /// Would a queue be lost with this node? One node is not asked
    CheckIfNodeIsQuorumCritical,
    /// There are no mirrors
    CheckIfNodeIsMirrorSyncCritical,
    /// There are no replicas
    CheckIfNewQuorumQueueReplicasHaveFinishedInitialSync,
    /// There are no deprecated features
    CheckIfAnyDeprecatedFeaturesAreUsed,
    /// Does nothing, as in RabbitMQ
    NodeHealthCheck,
}

/// What a virtual host says of itself.
#[derive(Debug, Args)]
pub(super) struct Metadata {
    #[arg(long)]
    pub(super) description: Option<String>,
    /// Separated by commas
    #[arg(long)]
    pub(super) tags: Option<String>,
    #[arg(long)]
    pub(super) default_queue_type: Option<String>,
}

/// A policy or an operator policy.
#[derive(Debug, Args)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) pattern: String,
    pub(super) definition: String,
    #[arg(long, default_value = "0", allow_hyphen_values = true)]
    pub(super) priority: String,
    #[arg(long, default_value = "all")]
    pub(super) apply_to: String,
}

/// What definitions are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DefinitionsFormat {
    /// The only one
    Json,
    /// Erlang's external terms, which are neither written nor read here
    Erlang,
}

/// What bytes are counted in.
#[derive(Clone, Debug, Args)]
pub(super) struct Unit {
    /// bytes, kb, mb, gb or tb
    #[arg(long, default_value = "gb")]
    pub(super) unit: String,
}
