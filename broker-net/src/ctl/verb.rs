//! The verbs, as rabbitmqctl spells them.

use std::path::PathBuf;

use clap::Subcommand;

/// What can be asked for.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(super) enum Verb {
    /// Queues: name, messages, consumers, and any other field of the API
    ListQueues { columns: Vec<String> },
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
    /// Policies of a virtual host
    ListPolicies,
    /// Operator policies of a virtual host
    ListOperatorPolicies,
    /// Runtime parameters of a virtual host
    ListParameters,
    /// Global runtime parameters
    ListGlobalParameters,
    /// Limits of a virtual host
    ListVhostLimits,
    /// Limits of users
    ListUserLimits,

    /// Makes a user
    AddUser { username: String, password: String },
    /// Deletes a user
    DeleteUser { username: String },
    /// Sets a user's password
    ChangePassword { username: String, password: String },
    /// Takes a user's password away: the user cannot log in with one
    ClearPassword { username: String },
    /// Sets a user's tags; none takes them away
    SetUserTags { username: String, tags: Vec<String> },
    /// Checks a password
    AuthenticateUser { username: String, password: String },
    /// Hashes a password as definitions have it
    HashPassword { password: String },
    /// Sets what a user may configure, write and read in a virtual host
    SetPermissions { username: String, configure: String, write: String, read: String },
    /// Takes a user's permissions in a virtual host away
    ClearPermissions { username: String },
    /// Sets what routing keys a user may write and read with at an exchange
    SetTopicPermissions { username: String, exchange: String, write: String, read: String },
    /// Takes a user's topic permissions away
    ClearTopicPermissions { username: String, exchange: Option<String> },
    /// Makes a virtual host
    AddVhost {
        vhost_name: String,
        #[arg(long, default_value = "")]
        description: String,
        /// Separated by commas
        #[arg(long, default_value = "")]
        tags: String,
        #[arg(long = "default-queue-type")]
        default_queue_type: Option<String>,
    },
    /// Deletes a virtual host with all that is in it
    DeleteVhost { vhost_name: String },
    /// Sets limits of a virtual host: '{"max-connections": 100}'
    SetVhostLimits { definition: String },
    /// Takes all limits of a virtual host away
    ClearVhostLimits,
    /// Sets limits of a user: '{"max-channels": 100}'
    SetUserLimits { username: String, definition: String },
    /// Takes a limit of a user away; `all` for all of them
    ClearUserLimits { username: String, limit: String },
    /// Makes or replaces a policy
    SetPolicy {
        name: String,
        pattern: String,
        definition: String,
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        priority: i64,
        #[arg(long = "apply-to", default_value = "all")]
        apply_to: String,
    },
    /// Deletes a policy
    ClearPolicy { name: String },
    /// Makes or replaces an operator policy
    SetOperatorPolicy {
        name: String,
        pattern: String,
        definition: String,
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        priority: i64,
        #[arg(long = "apply-to", default_value = "all")]
        apply_to: String,
    },
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
        #[arg(long = "if-empty")]
        if_empty: bool,
        #[arg(long = "if-unused")]
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
    CloseAllConnections { explanation: String },
    /// Closes all connections of a user
    CloseAllUserConnections { username: String, explanation: String },
    /// Writes all definitions to a file; `-` for standard output
    ExportDefinitions { path: PathBuf },
    /// Reads definitions from a file; `-` for standard input
    ImportDefinitions { path: PathBuf },
    /// Sets the name of the cluster
    SetClusterName { name: String },

    /// What the broker is and how it does
    Status,
    /// The nodes of the cluster
    ClusterStatus,
    /// Waits until the broker answers
    AwaitStartup,
    /// Does the broker answer?
    Ping,
    /// Is the broker running?
    CheckRunning,
    /// Is no alarm on?
    CheckLocalAlarms,
    /// Is no alarm on?
    CheckAlarms,
    /// Are all virtual hosts running?
    CheckVirtualHosts,
    /// Does the broker listen on a port?
    CheckPortListener { port: u16 },
    /// Does the broker listen for a protocol?
    CheckProtocolListener { protocol: String },
    /// Where the broker listens
    Listeners,
    /// The version of RabbitMQ that the broker is compatible with
    ServerVersion,
}
