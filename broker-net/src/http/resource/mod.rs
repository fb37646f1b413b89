//! The resources of the API, one file each, and their paths.

mod attempt;
mod binding;
mod channel;
mod connection;
mod consumer;
mod definitions;
mod delayed;
mod exchange;
mod health;
mod limit;
mod message;
mod moving;
mod node;
mod overview;
mod parameter;
mod permission;
mod policy;
mod queue;
mod setting;
mod user;
mod vhost;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::api::Api;
use super::error::ApiError;

pub(super) use channel::channel_numbers;
pub(super) use connection::connection_numbers;
pub(super) use definitions::load as load_definitions;
pub(super) use exchange::exchange_numbers;
pub(super) use node::node_numbers;
pub(super) use queue::queue_numbers;

type Routes = Router<Arc<Api>>;

/// Adds a path below `/api`, with and without a slash at its end, as RabbitMQ accepts both.
trait Route {
    fn at(self, path: &str, methods: MethodRouter<Arc<Api>>) -> Self;
}

impl Route for Routes {
    fn at(self, path: &str, methods: MethodRouter<Arc<Api>>) -> Self {
        let path = format!("/api{path}");
        self.route(&format!("{path}/"), methods.clone()).route(&path, methods)
    }
}

/// All paths of the API.
pub(super) fn routes() -> Routes {
    let routes = definitions_of_administrators(Router::new());
    let routes = contents_of_vhosts(routes);
    let routes = clients(routes);
    broker(routes).fallback(async || ApiError::not_found())
}

fn broker(routes: Routes) -> Routes {
    routes
        .at("/overview", get(overview::overview))
        .at("/cluster-name", get(overview::cluster_name).put(overview::set_cluster_name))
        .at("/version", get(overview::version))
        .at("/whoami", get(overview::whoami))
        .at("/login", post(overview::login))
        .at("/auth", get(overview::auth))
        .at("/auth/attempts/{node}", get(attempt::list).delete(attempt::reset))
        .at("/auth/attempts/{node}/source", get(attempt::list_sources).delete(attempt::reset))
        .at("/auth/hash_password/{password}", get(user::hash_password))
        .at("/extensions", get(overview::extensions))
        .at("/feature-flags", get(overview::none))
        .at("/feature-flags/{flag}/enable", put(overview::enable_feature_flag))
        .at("/deprecated-features", get(overview::none))
        .at("/deprecated-features/used", get(overview::none))
        .at("/reset", delete(overview::reset))
        .at("/reset/{node}", delete(overview::reset_node))
        .at("/rebalance/queues", post(overview::rebalance))
        .at("/nodes", get(node::list))
        .at("/nodes/{node}", get(node::get))
        .at("/nodes/{node}/log-level", put(setting::set_log_level))
        .at("/nodes/{node}/vm-memory-high-watermark", put(setting::set_vm_memory_high_watermark))
        .at("/nodes/{node}/disk-free-limit", put(setting::set_disk_free_limit))
        .at("/definitions", get(definitions::export).post(definitions::import))
        .at("/definitions/{vhost}", get(definitions::export_vhost).post(definitions::import_vhost))
        .at("/all-configuration", get(definitions::export).post(definitions::import))
        .at("/aliveness-test/{vhost}", get(health::aliveness))
        .at("/healthchecks/node", get(health::alarms))
        .at("/healthchecks/node/{node}", get(health::alarms_of_node))
        .at("/health/checks/alarms", get(health::alarms))
        .at("/health/checks/local-alarms", get(health::alarms))
        .at("/health/checks/certificate-expiration/{within}/{unit}", get(health::certificate_expiration))
        .at("/health/checks/virtual-hosts", get(health::ok))
        .at("/health/checks/node-is-quorum-critical", get(health::single_node))
        .at("/health/checks/port-listener/{port}", get(health::port_listener))
        .at("/health/checks/protocol-listener/{protocol}", get(health::protocol_listener))
        .at("/health/checks/is-in-service", get(health::ok))
        .at("/health/checks/ready-to-serve-clients", get(health::ok))
}

fn definitions_of_administrators(routes: Routes) -> Routes {
    routes
        .at("/vhosts", get(vhost::list))
        .at("/vhosts/{vhost}", get(vhost::get).put(vhost::put).delete(vhost::delete))
        .at("/vhosts/{vhost}/start/{node}", post(vhost::start))
        .at("/vhosts/{vhost}/permissions", get(permission::list_of_vhost))
        .at("/vhosts/{vhost}/topic-permissions", get(permission::list_topic_of_vhost))
        .at("/vhosts/{vhost}/connections", get(connection::list_of_vhost))
        .at("/vhosts/{vhost}/channels", get(channel::list_of_vhost))
        .at("/users", get(user::list))
        .at("/users/without-permissions", get(user::list_without_permissions))
        .at("/users/bulk-delete", post(user::bulk_delete))
        .at("/users/{user}", get(user::get).put(user::put).delete(user::delete))
        .at("/users/{user}/permissions", get(permission::list_of_user))
        .at("/users/{user}/topic-permissions", get(permission::list_topic_of_user))
        .at("/permissions", get(permission::list))
        .at("/permissions/{vhost}/{user}", get(permission::get).put(permission::put).delete(permission::delete))
        .at("/topic-permissions", get(permission::list_topic))
        .at(
            "/topic-permissions/{vhost}/{user}",
            get(permission::get_topic).put(permission::put_topic).delete(permission::delete_topic),
        )
        .at(
            "/topic-permissions/{vhost}/{user}/{exchange}",
            get(permission::get_topic_of_exchange).delete(permission::delete_topic_of_exchange),
        )
        .at("/policies", get(policy::list))
        .at("/policies/{vhost}", get(policy::list_of_vhost))
        .at("/policies/{vhost}/{name}", get(policy::get).put(policy::put).delete(policy::delete))
        .at("/operator-policies", get(policy::list_operator))
        .at("/operator-policies/{vhost}", get(policy::list_operator_of_vhost))
        .at(
            "/operator-policies/{vhost}/{name}",
            get(policy::get_operator).put(policy::put_operator).delete(policy::delete_operator),
        )
        .at("/parameters", get(parameter::list))
        .at("/parameters/{component}", get(parameter::list_of_component))
        .at("/parameters/{component}/{vhost}", get(parameter::list_of_vhost))
        .at(
            "/parameters/{component}/{vhost}/{name}",
            get(parameter::get).put(parameter::put).delete(parameter::delete),
        )
        .at("/global-parameters", get(parameter::list_global))
        .at(
            "/global-parameters/{name}",
            get(parameter::get_global).put(parameter::put_global).delete(parameter::delete_global),
        )
        .at("/vhost-limits", get(limit::list_of_vhosts))
        .at("/vhost-limits/{vhost}", get(limit::get_of_vhost))
        .at("/vhost-limits/{vhost}/{limit}", put(limit::put_of_vhost).delete(limit::delete_of_vhost))
        .at("/user-limits", get(limit::list_of_users))
        .at("/user-limits/{user}", get(limit::get_of_user))
        .at("/user-limits/{user}/{limit}", put(limit::put_of_user).delete(limit::delete_of_user))
}

fn contents_of_vhosts(routes: Routes) -> Routes {
    routes
        .at("/exchanges", get(exchange::list))
        .at("/exchanges/{vhost}", get(exchange::list_of_vhost))
        .at("/exchanges/{vhost}/{exchange}", get(exchange::get).put(exchange::put).delete(exchange::delete))
        .at("/exchanges/{vhost}/{exchange}/publish", post(exchange::publish))
        .at("/exchanges/{vhost}/{exchange}/delayed", get(delayed::list).delete(delayed::cancel_all))
        .at("/exchanges/{vhost}/{exchange}/delayed/{id}", delete(delayed::cancel))
        .at("/exchanges/{vhost}/{exchange}/bindings/source", get(binding::list_of_source))
        .at("/exchanges/{vhost}/{exchange}/bindings/destination", get(binding::list_of_destination))
        .at("/queues", get(queue::list))
        .at("/queues/detailed", get(queue::list))
        .at("/queues/{vhost}", get(queue::list_of_vhost))
        .at("/queues/{vhost}/{queue}", get(queue::get).put(queue::put).delete(queue::delete))
        .at("/queues/{vhost}/{queue}/bindings", get(binding::list_of_queue))
        .at("/queues/{vhost}/{queue}/contents", delete(queue::purge))
        .at("/queues/{vhost}/{queue}/move", post(moving::move_messages))
        .at("/queues/{vhost}/{queue}/redrive", post(moving::redrive))
        .at("/queues/{vhost}/{queue}/pause", put(queue::pause))
        .at("/queues/{vhost}/{queue}/resume", put(queue::resume))
        .at("/queues/{vhost}/{queue}/get", post(message::get))
        .at("/queues/{vhost}/{queue}/actions", post(queue::action))
        .at("/bindings", get(binding::list))
        .at("/bindings/{vhost}", get(binding::list_of_vhost))
        .at("/bindings/{vhost}/e/{source}/{kind}/{destination}", get(binding::list_between).post(binding::bind))
        .at(
            "/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties}",
            get(binding::get).delete(binding::unbind),
        )
}

fn clients(routes: Routes) -> Routes {
    routes
        .at("/connections", get(connection::list))
        .at("/connections/{connection}", get(connection::get).delete(connection::close))
        .at("/connections/{connection}/channels", get(channel::list_of_connection))
        .at("/connections/username/{user}", get(connection::list_of_user).delete(connection::close_of_user))
        .at("/channels", get(channel::list))
        .at("/channels/{channel}", get(channel::get))
        .at("/consumers", get(consumer::list))
        .at("/consumers/{vhost}", get(consumer::list_of_vhost))
}
