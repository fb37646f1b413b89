//! Parameters: named values that components keep in the broker. The broker stores and exports them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A parameter of a virtual host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterDefinition {
    /// Its virtual host.
    pub vhost: String,
    /// The component that it is for, such as `shovel`.
    pub component: String,
    /// Its name, unique in virtual host and component.
    pub name: String,
    /// What the component makes of it.
    pub value: Value,
}

/// A parameter of the whole broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameterDefinition {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}
