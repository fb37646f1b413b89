//! `ringmqctl` beside rabbitmqctl 4.0.5: what both print to the same arguments, in the same order of commands.
//!
//! Each step is a command line, its exit code, and what was recorded of standard output and standard error. Usage texts, which name
//! the program, are left out, and rows of RabbitMQ are in the order that RingMQ keeps.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::Served;

struct Step {
    arguments: &'static [&'static str],
    input: &'static str,
    code: i32,
    out: &'static str,
    /// What standard error begins with.
    error: &'static str,
}

const fn step(arguments: &'static [&'static str], out: &'static str) -> Step {
    Step { arguments, input: "", code: 0, out, error: "" }
}

const fn fails(arguments: &'static [&'static str], code: i32, out: &'static str, error: &'static str) -> Step {
    Step { arguments, input: "", code, out, error }
}

#[track_caller]
fn check(steps: &[Step]) {
    let api = Served::start();
    for step in steps {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmqctl"))
            .args(step.arguments)
            .env("RINGMQ_URL", format!("http://{}", api.broker.http))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(step.input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let arguments = step.arguments;
        assert_eq!(out, step.out, "{arguments:?}: {error}");
        assert!(error.starts_with(step.error), "{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(step.code), "{arguments:?}: {error}");
    }
}

#[test]
fn virtual_hosts() {
    check(&[
        step(&["add_vhost", "v"], "Adding vhost \"v\" ...\n"),
        step(&["add_vhost", "v"], "Adding vhost \"v\" ...\n"),
        step(
            &["add_vhost", "w", "--description", "d", "--tags", "a,b", "--default-queue-type", "quorum"],
            "Adding vhost \"w\" ...\n",
        ),
        step(&["list_vhosts"], "Listing vhosts ...\nname\n/\nv\nw\n"),
        step(
            &["list_vhosts", "name", "tags", "default_queue_type"],
            "Listing vhosts ...\nname\ttags\tdefault_queue_type\n/\t[]\tclassic\nv\t[]\tclassic\nw\t[a, b]\tquorum\n",
        ),
        fails(&["list_vhosts", "foo"], 64, "", "Error (argument validation): Info key(s) foo are not supported\n"),
        step(
            &["update_vhost_metadata", "v", "--description", "new", "--tags", "x,y"],
            "Updating metadata of vhost \"v\" ...\n",
        ),
        fails(
            &["update_vhost_metadata", "nosuch", "--description", "new"],
            65,
            "Updating metadata of vhost \"nosuch\" ...\n",
            "Virtual host 'nosuch' does not exist\n",
        ),
        step(&["-q", "list_vhosts", "name", "tags"], "name\ttags\n/\t[]\nv\t[x, y]\nw\t[a, b]\n"),
        fails(
            &["delete_vhost", "nosuch"],
            65,
            "Deleting vhost \"nosuch\" ...\n",
            "Virtual host 'nosuch' does not exist\n",
        ),
        step(&["delete_vhost", "w"], "Deleting vhost \"w\" ...\n"),
        step(&["list_vhosts", "-s"], "/\nv\n"),
        step(
            &["set_vhost_limits", "-p", "v", "{\"max-queues\": 5, \"max-connections\": 7}"],
            "Setting vhost limits to \"{\"max-queues\": 5, \"max-connections\": 7}\" for vhost \"v\" ...\n",
        ),
        fails(
            &["set_vhost_limits", "-p", "v", "xx"],
            69,
            "Setting vhost limits to \"xx\" for vhost \"v\" ...\n",
            "Error:\nCould not parse JSON document: ",
        ),
        step(
            &["list_vhost_limits", "-p", "v"],
            "Listing limits for vhost \"v\" ...\n{\"max-connections\":7,\"max-queues\":5}\n",
        ),
        step(&["list_vhost_limits"], "Listing limits for vhost \"/\" ...\n\n"),
        step(
            &["list_vhost_limits", "--global"],
            "Listing limits for all vhosts ...\nvhost\tlimits\nv\t{\"max-connections\":7,\"max-queues\":5}\n",
        ),
        step(&["clear_vhost_limits", "-p", "v"], "Clearing vhost \"v\" limits ...\n"),
        step(&["list_vhost_limits", "-p", "v"], "Listing limits for vhost \"v\" ...\n\n"),
    ]);
}

#[test]
fn users() {
    const DONE: &str = "Adding user \"u\" ...\nDone. Don't forget to grant the user permissions to some virtual hosts! \
        See 'ringmqctl help set_permissions' to learn more.\n";
    const FAILED: &str = "Error:\nError: failed to authenticate user \"u\"\nuser 'u' - invalid credentials\n";
    check(&[
        step(&["add_user", "u", "secret"], DONE),
        fails(&["add_user", "u", "secret"], 70, "Adding user \"u\" ...\n", "Error:\nUser \"u\" already exists\n"),
        fails(
            &["add_user", "", "x"],
            65,
            "",
            "Error (argument validation): Bad argument: user cannot be an empty string",
        ),
        fails(&["add_user"], 64, "", "Error (argument validation): not enough arguments."),
        // The prompt goes to standard error here, so that it is in no one's output.
        Step { input: "secret\n", error: "Password: ", ..step(&["add_user", "-q", "u2"], "") },
        fails(
            &["add_user", "u3"],
            65,
            "Adding user \"u3\" ...\n",
            "Password: \nError:\nPassword is not provided via argument or stdin\n",
        ),
        step(&["list_users"], "Listing users ...\nuser\ttags\nguest\t[administrator]\nu\t[]\nu2\t[]\n"),
        step(
            &["list_users", "--formatter", "json"],
            "[\n{\"user\":\"guest\",\"tags\":[\"administrator\"]}\n,{\"user\":\"u\",\"tags\":[]}\n,{\"user\":\"u2\",\"tags\":[]}\n]\n",
        ),
        step(
            &["list_users", "--formatter", "csv"],
            "\"user\",\"tags\"\n\"guest\",\"[administrator]\"\n\"u\",\"[]\"\n\"u2\",\"[]\"\n",
        ),
        step(
            &["set_user_tags", "u", "management", "policymaker"],
            "Setting tags for user \"u\" to [management, policymaker] ...\n",
        ),
        fails(
            &["set_user_tags", "nosuch", "a"],
            67,
            "Setting tags for user \"nosuch\" to [a] ...\n",
            "Error:\nUser \"nosuch\" does not exist\n",
        ),
        step(&["change_password", "u", "other"], "Changing password for user \"u\" ...\n"),
        fails(
            &["change_password", "nosuch", "other"],
            67,
            "Changing password for user \"nosuch\" ...\n",
            "Error:\nUser \"nosuch\" does not exist\n",
        ),
        step(&["authenticate_user", "u", "other"], "Authenticating user \"u\" ...\nSuccess\n"),
        fails(&["authenticate_user", "u", "wrong"], 65, "Authenticating user \"u\" ...\n", FAILED),
        step(&["clear_password", "u"], "Clearing password for user \"u\" ...\n"),
        fails(&["authenticate_user", "u", "other"], 65, "Authenticating user \"u\" ...\n", FAILED),
        step(
            &["set_user_limits", "u", "{\"max-connections\": 5, \"max-channels\": 7}"],
            "Setting user limits to \"{\"max-connections\": 5, \"max-channels\": 7}\" for user \"u\" ...\n",
        ),
        step(&["list_user_limits"], "Listing limits for user \"guest\" ...\n{}\n"),
        step(
            &["list_user_limits", "--user", "u"],
            "Listing limits for user \"u\" ...\n{\"max-channels\":7,\"max-connections\":5}\n",
        ),
        step(
            &["list_user_limits", "--global"],
            "Listing limits for all users ...\nuser\tlimits\nu\t{\"max-channels\":7,\"max-connections\":5}\n",
        ),
        step(&["clear_user_limits", "u", "max-channels"], "Clearing \"max-channels\" limit for user \"u\" ...\n"),
        step(&["clear_user_limits", "u", "all"], "Clearing all limits for user \"u\" ...\n"),
        step(&["delete_user", "nosuch"], "Deleting user \"nosuch\" ...\n"),
        step(&["delete_user", "u"], "Deleting user \"u\" ...\n"),
    ]);
}

#[test]
fn permissions() {
    check(&[
        step(&["add_user", "-s", "u", "p"], ""),
        step(&["add_vhost", "-q", "v"], ""),
        // Over the API whoever makes a virtual host may use it.
        step(&["clear_permissions", "-q", "-p", "v", "guest"], ""),
        step(
            &["set_permissions", "-p", "v", "u", "^a", "^b", "^c"],
            "Setting permissions for user \"u\" in vhost \"v\" ...\n",
        ),
        fails(
            &["set_permissions", "-p", "nosuch", "u", "^a", "^b", "^c"],
            69,
            "Setting permissions for user \"u\" in vhost \"nosuch\" ...\n",
            "Error:\nVirtual host nosuch does not exist\n",
        ),
        fails(
            &["set_permissions", "-p", "v", "nosuch", "^a", "^b", "^c"],
            67,
            "Setting permissions for user \"nosuch\" in vhost \"v\" ...\n",
            "Error:\nUser nosuch does not exist\n",
        ),
        step(
            &["list_permissions", "-p", "v"],
            "Listing permissions for vhost \"v\" ...\nuser\tconfigure\twrite\tread\nu\t^a\t^b\t^c\n",
        ),
        step(
            &["list_permissions", "-p", "v", "--formatter", "json"],
            "[\n{\"user\":\"u\",\"configure\":\"^a\",\"write\":\"^b\",\"read\":\"^c\"}\n]\n",
        ),
        fails(
            &["list_permissions", "-p", "nosuch"],
            65,
            "Listing permissions for vhost \"nosuch\" ...\n",
            "Virtual host 'nosuch' does not exist\n",
        ),
        step(
            &["list_user_permissions", "u"],
            "Listing permissions for user \"u\" ...\nvhost\tconfigure\twrite\tread\nv\t^a\t^b\t^c\n",
        ),
        fails(
            &["list_user_permissions", "nosuch"],
            69,
            "Listing permissions for user \"nosuch\" ...\n",
            "Error:\n{:no_such_user, \"nosuch\"}\n",
        ),
        step(
            &["set_topic_permissions", "-p", "v", "u", "amq.topic", "^b", "^c"],
            "Setting topic permissions on \"amq.topic\" for user \"u\" in vhost \"v\" ...\n",
        ),
        step(
            &["list_topic_permissions", "-p", "v"],
            "Listing topic permissions for vhost \"v\" ...\nuser\texchange\twrite\tread\nu\tamq.topic\t^b\t^c\n",
        ),
        step(
            &["clear_topic_permissions", "-p", "v", "u", "amq.topic"],
            "Clearing topic permissions on \"amq.topic\" for user \"u\" in vhost \"v\" ...\n",
        ),
        step(
            &["clear_topic_permissions", "-p", "v", "u"],
            "Clearing topic permissions for user \"u\" in vhost \"v\" ...\n",
        ),
        step(&["list_topic_permissions", "-p", "v"], "Listing topic permissions for vhost \"v\" ...\n\n"),
        step(&["clear_permissions", "-p", "v", "u"], "Clearing permissions for user \"u\" in vhost \"v\" ...\n"),
        step(&["list_permissions", "-p", "v"], "Listing permissions for vhost \"v\" ...\n\n"),
    ]);
}

#[test]
fn policies_and_parameters() {
    check(&[
        step(
            &["set_policy", "p", "^q", "{\"max-length\":3}", "--apply-to", "queues", "--priority", "2"],
            "Setting policy \"p\" for pattern \"^q\" to \"{\"max-length\":3}\" with priority \"2\" for vhost \"/\" ...\n",
        ),
        step(
            &["list_policies"],
            "Listing policies for vhost \"/\" ...\nvhost\tname\tpattern\tapply-to\tdefinition\tpriority\n\
             /\tp\t^q\tqueues\t{\"max-length\":3}\t2\n",
        ),
        step(
            &["list_policies", "--formatter", "json"],
            "[\n{\"vhost\":\"/\",\"name\":\"p\",\"pattern\":\"^q\",\"apply-to\":\"queues\",\
             \"definition\":\"{\\\"max-length\\\":3}\",\"priority\":2}\n]\n",
        ),
        fails(
            &["set_policy", "p", "^q", "{\"bad\":3}"],
            69,
            "Setting policy \"p\" for pattern \"^q\" to \"{\"bad\":3}\" with priority \"0\" for vhost \"/\" ...\n",
            "Error:\nValidation failed\n\n",
        ),
        step(&["clear_policy", "p"], "Clearing policy \"p\" on vhost \"/\" ...\n"),
        fails(
            &["clear_policy", "p"],
            69,
            "Clearing policy \"p\" on vhost \"/\" ...\n",
            "Error:\nParameter does not exist\n",
        ),
        step(&["list_policies"], "Listing policies for vhost \"/\" ...\n\n"),
        step(
            &["set_operator_policy", "o", "^q", "{\"max-length\":3}", "--apply-to", "queues", "--priority", "2"],
            "Setting operator policy override \"o\" for pattern \"^q\" to \"{\"max-length\":3}\" with priority \"2\" for \
             vhost \"/\" ...\n",
        ),
        step(
            &["list_operator_policies"],
            "Listing operator policy overrides for vhost \"/\" ...\nvhost\tname\tpattern\tapply-to\tdefinition\tpriority\n\
             /\to\t^q\tqueues\t{\"max-length\":3}\t2\n",
        ),
        step(&["clear_operator_policy", "o"], "Clearing operator policy \"o\" on vhost \"/\" ...\n"),
        step(&["set_global_parameter", "g", "[1]"], "Setting global runtime parameter \"g\" to \"[1]\" ...\n"),
        fails(
            &["set_global_parameter", "g", "x"],
            69,
            "Setting global runtime parameter \"g\" to \"x\" ...\n",
            "Error:\nCould not parse JSON document: ",
        ),
        step(&["list_global_parameters", "-s"], "g\t[1]\n"),
        step(&["clear_global_parameter", "g"], "Clearing global runtime parameter \"g\" ...\n"),
        fails(
            &["clear_global_parameter", "g"],
            69,
            "Clearing global runtime parameter \"g\" ...\n",
            "Error:\nParameter does not exist\n",
        ),
        step(&["list_parameters"], "Listing runtime parameters for vhost \"/\" ...\n\n"),
        fails(
            &["clear_parameter", "c", "x"],
            69,
            "Clearing runtime parameter \"x\" for component \"c\" on vhost \"/\" ...\n",
            "Error:\nParameter does not exist\n",
        ),
    ]);
}

#[test]
fn contents_that_are_not_there() {
    const QUEUES: &str = "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\n";
    check(&[
        step(&["list_queues"], QUEUES),
        step(&["list_queues", "--formatter", "json"], "[\n]\n"),
        step(&["list_queues", "--formatter", "csv"], ""),
        step(&["list_queues", "--formatter", "pretty_table"], QUEUES),
        step(&["list_queues", "-p", "nosuch"], "Timeout: 60.0 seconds ...\nListing queues for vhost nosuch ...\n"),
        step(&["list_queues", "-q"], ""),
        step(&["list_queues", "--no-table-headers"], QUEUES),
        fails(&["list_queues", "foo"], 64, "", "Error (argument validation): Info key(s) foo are not supported\n"),
        fails(&["list_queues", "--foo"], 64, "", "Error (argument validation): "),
        step(&["list_bindings"], "Listing bindings for vhost /...\n"),
        step(&["list_connections"], "Listing connections ...\n"),
        step(&["list_connections", "-q"], ""),
        step(&["list_channels"], "Listing channels ...\n"),
        step(&["list_consumers"], "Listing consumers in vhost / ...\n"),
        step(&["list_unresponsive_queues"], "Listing unresponsive queues for vhost / ...\n"),
        fails(
            &["delete_queue", "nosuch"],
            64,
            "Deleting queue 'nosuch' on vhost '/' ...\n",
            "Error:\nQueue not found\n",
        ),
        fails(
            &["purge_queue", "nosuch"],
            65,
            "Purging queue 'nosuch' in vhost '/' ...\n",
            "Object (queue, stream, exchange, etc) was not found\n",
        ),
        step(
            &["close_all_connections", "--vhost", "/", "reason"],
            "Closing all connections in vhost /, reason: reason...\nClosed 0 connections\n",
        ),
        step(
            &["close_all_user_connections", "nosuch", "reason"],
            "Closing connections of user nosuch, reason: reason...\n",
        ),
        fails(
            &["export_definitions", "/nosuch/x"],
            65,
            "",
            "Error (argument validation): Bad argument: Directory /nosuch does not exist\n",
        ),
        fails(
            &["import_definitions", "/nosuch/x"],
            65,
            "",
            "Error (argument validation): Bad argument: File /nosuch/x does not exist\n",
        ),
        fails(&["no_such_verb"], 64, "", "\nCommand 'no_such_verb' not found. \n"),
        fails(&["rotate_logs"], 69, "", "Error:\nThis command does not rotate logs anymore [deprecated]\n"),
        step(&["version"], "4.0.5\n"),
        step(&["await_startup"], ""),
        step(&["set_cluster_name", "foo@bar"], "Setting cluster name to foo@bar ...\n"),
        fails(
            &["wait", "/nosuch/pid", "--timeout", "0"],
            75,
            "Waiting for pid file '/nosuch/pid' to appear\n",
            "Error: operation wait timed out. Timeout value used: 0",
        ),
    ]);
}

#[test]
fn settings_that_make_no_sense() {
    const BAD: &str = "Error (argument validation): Bad argument.\n";
    const MORE: &str = "Error (argument validation): not enough arguments.";
    const LESS: &str = "Error (argument validation): too many arguments.\n";
    check(&[
        step(&["set_log_level", "info"], "Setting log level to \"info\" ...\n"),
        fails(
            &["set_log_level", "loud"],
            69,
            "",
            "Error:\nlevel loud is not supported. Try one of debug, info, warning, error, critical, none\n",
        ),
        fails(&["set_log_level"], 64, "", MORE),
        fails(&["set_disk_free_limit"], 64, "", MORE),
        fails(&["set_disk_free_limit", "xyz"], 65, "", BAD),
        fails(&["set_disk_free_limit", "5XB"], 65, "", BAD),
        fails(&["set_disk_free_limit", "mem_relative", "x"], 65, "", BAD),
        fails(&["set_disk_free_limit", "mem_relative"], 64, "", MORE),
        fails(&["set_disk_free_limit", "1", "2"], 64, "", LESS),
        fails(
            &["set_vm_memory_high_watermark", "1.5"],
            65,
            "",
            "Error (argument validation): Bad argument: The threshold should be a fraction between 0.0 and 1.0\n",
        ),
        fails(&["set_vm_memory_high_watermark", "abc"], 65, "", BAD),
        fails(&["set_vm_memory_high_watermark", "absolute", "abc"], 65, "", BAD),
        fails(&["set_vm_memory_high_watermark", "absolute"], 64, "", MORE),
        fails(&["set_vm_memory_high_watermark", "0.5", "3"], 64, "", LESS),
    ]);
}
