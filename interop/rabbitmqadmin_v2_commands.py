"""What rabbitmqadmin 2 is asked to do, and what a broker makes of it: exit codes, outputs, and the files that it writes.

Run as a program, it prints the answers of a broker as JSON. Those of RabbitMQ 4.0.5, freshly started, are recorded in
rabbitmqadmin_v2.json (any Python that has pika will do):

    python3 rabbitmqadmin_v2_commands.py target/rabbitmqadmin-2.35.0/bin/rabbitmqadmin 127.0.0.1:15673 > rabbitmqadmin_v2.json
"""

import base64
import json
import os
import re
import shlex
import sys
import tempfile
import time
import urllib.request

import pika

from rabbitmqadmin_commands import PATIENCE, VHOST, run

#: `@` stands for the flag that names the virtual host in which everything happens, so that a broker that is used for other things answers
#: the same.
COMMANDS = r"""
show endpoint
show overview
show churn
list nodes
nodes list
auth_attempts stats --node {node}
auth_attempts stats --node nonsense
plugins list_all
plugins list_on_node --node {node}
plugins list_on_node --node nonsense
show memory_breakdown_in_bytes --node {node}
show memory_breakdown_in_bytes --node nonsense
show memory_breakdown_in_percent --node nonsense
nodes memory_breakdown_in_bytes --node nonsense
nodes memory_breakdown_in_percent --node nonsense
feature_flags list
list feature_flags
feature_flags enable --name nonsense
feature_flags enable --name quorum_queue
feature_flags enable_all
deprecated_features list
list deprecated_features
deprecated_features list_used
list deprecated_features_in_use
health_check local_alarms
health_check cluster_wide_alarms
health_check node_is_quorum_critical
health_check deprecated_features_in_use
health_check port_listener --port 1
health_check port_listener --port {amqp}
health_check protocol_listener --protocol amqp
health_check protocol_listener --protocol amqp091
health_check protocol_listener --protocol http
health_check protocol_listener --protocol mqtt
health_check protocol_listener --protocol amqp/ssl
declare vhost --name admin.v --description "a test" --default-queue-type classic
declare vhost --name admin.v
vhosts declare --name admin.tracing --tracing
vhosts declare --name admin.many.1
vhosts declare --name admin.many.2
vhosts declare --name admin.odd --default-queue-type nonsense
vhosts list
list vhosts
vhosts enable_deletion_protection --name admin.v
vhosts disable_deletion_protection --name admin.v
vhosts enable_deletion_protection --name admin.missing
vhosts delete_multiple --name-pattern ^admin.many --dry-run
vhosts delete_multiple --name-pattern ^admin.many
vhosts delete_multiple --name-pattern ^admin.many --approve
vhosts delete_multiple --name-pattern ^admin.many --approve --output json
delete vhost --name admin.tracing
vhosts delete --name admin.odd
vhosts delete --name admin.missing
vhosts delete --name admin.missing --idempotently
declare user --name admin.u --password secret --tags monitoring
users declare --name admin.u --password secret --tags "monitoring policymaker"
declare user --name admin.hash --password-hash qXKsPqHH6hW8x9r0ZEZHxnbH3RMIOMUgMUWNnDXhTyWTHB/B
declare user --name admin.algorithm --password secret --hashing-algorithm sha512
declare user --name admin.nothing
declare user --name admin.both --password x --password-hash x
users list
list users --page 1 --page-size 100
users permissions
declare permissions --username admin.u --configure .* --read ^a --write .*
@ declare permissions --username admin.u --configure .* --read ^a --write .*
@ permissions declare --username admin.missing --configure .* --read .* --write .*
@ permissions declare --username admin.u --configure * --read .* --write .*
permissions list
list permissions
permissions delete --username admin.u
permissions delete --username admin.u
declare user_limit --username admin.u --name max-connections --value 7
user_limits declare --username admin.u --name max-channels --value 9
user_limits declare --username admin.u --name max-nonsense --value 9
user_limits declare --username admin.missing --name max-channels --value 9
user_limits list
users limits --username admin.u
list user_limits --username admin.missing
user_limits delete --username admin.u --name max-channels
user_limits delete --username admin.u --name max-channels
delete user_limit --username admin.u --name max-connections
@ declare vhost_limit --name max-queues --value 50
@ vhost_limits declare --name max-connections --value 60
@ vhost_limits declare --name max-nonsense --value 60
@ vhost_limits list
@ list vhost_limits
@ delete vhost_limit --name max-connections
@ vhost_limits delete --name max-connections
@ declare queue --name q --durable true
@ declare queue --name q --durable true
@ declare queue --name q --durable false
@ queues declare --name auto --auto-delete true --durable true
@ queues declare --name limited --durable true --arguments '{"x-max-length":3,"x-overflow":"reject-publish"}'
@ queues declare --name broken --arguments '{"x-max-length":"three"}'
@ queues declare --name quorum --type quorum --durable true
@ queues declare --name odd --type nonsense
@ declare stream --name log --expiration 7D --max-length-bytes 1000000
@ streams declare --name log2 --expiration 1h --stream-max-segment-size-bytes 500000 --arguments '{"x-initial-cluster-size":1}'
@ queues declare --name amq.mine
@ queues declare --name many.1
@ queues declare --name many.2
@ declare exchange --name x --type topic
@ declare exchange --name x --type fanout
@ exchanges declare --name f --type fanout --durable false --auto-delete true --arguments '{"alternate-exchange":"x"}'
@ exchanges declare --name random --type x-local-random
@ exchanges declare --name plugin --type x-delayed-message
@ exchanges declare --name wrong --type nonsense
@ exchanges declare --name amq.mine
@ exchanges list
@ list exchanges --page 1 --page-size 3
@ declare binding --source x --destination-type queue --destination q --routing-key a.#
@ bindings declare --source x --destination-type queue --destination limited --routing-key b --arguments '{"k":1}'
@ exchanges bind --source x --destination-type exchange --destination f --routing-key f
@ bindings declare --source x --destination-type queue --destination missing --routing-key b
bindings list
list bindings
@ publish message --routing-key q --payload one
@ publish message --exchange x --routing-key a.b --payload two --properties '{"delivery_mode":2,"headers":{"h":1},"content_type":"text/plain"}'
@ publish message --exchange x --routing-key nowhere --payload three
@ publish message --exchange missing --routing-key q --payload four
@ publish message --routing-key q --payload-file {payload}
@ publish message --routing-key q --payload x --properties '{"priority":"high"}'
@ publish message --routing-key log --payload 1
@ queues list --columns name,type,durable,auto_delete,exclusive,arguments,state
@ queues list
@ queues list --page 1 --page-size 2 --columns name,vhost
@ streams list --columns name,type
@ queues show --name q
@ queues show --name quorum
@ streams show --name log
@ queues show --name missing
@ get messages --queue q
@ get messages --queue q --count 2 --ack-mode ack_requeue_true
@ get messages --queue q --count 5 --ack-mode reject_requeue_true
@ get messages --queue q --count 5 --ack-mode reject_requeue_false
@ get messages --queue q
@ get messages --queue missing
@ get messages --queue log
@ get messages --queue q --ack-mode nonsense
@ queues purge --name q
@ purge queue --name missing
@ declare policy --name p --pattern ^q --apply-to queues --priority 3 --definition '{"max-length":100}'
@ policies declare --name p2 --pattern ^q --apply-to all --priority 3 --definition '{"message-ttl":3600000}'
@ policies declare --name wrong --pattern ^q --apply-to queues --definition '{"max-length":"many"}'
@ policies declare --name wrong --pattern ( --apply-to queues --definition '{"max-length":1}'
@ policies declare --name wrong --pattern x --apply-to nonsense --definition '{"max-length":1}'
@ policies declare_override --name p --override-name p.override --definition '{"max-length":50}'
@ policies declare_override --name missing --definition '{"max-length":50}'
@ policies declare_blanket --name blanket --apply-to queues --definition '{"expires":86400000}'
@ policies patch --name p --definition '{"max-length":77}'
@ policies patch --name missing --definition '{"max-length":77}'
@ policies update_definition --name p --definition-key max-length-bytes --new-value 7777
@ policies update_definitions_of_all_in --definition-key dead-letter-exchange --new-value x
@ policies list_in
@ policies list_in --apply-to queues
@ policies list_matching_object --name q --type queues
@ policies list_conflicting
@ policies list_conflicting_in
@ policies delete_definition_keys --name p --definition-keys max-length-bytes
@ policies delete_definition_keys_from_all_in --definition-keys dead-letter-exchange
policies update_definitions_of_all --definition-key max-length --new-value 66
policies delete_definition_keys_from_all --definition-keys expires
policies list
list policies
@ declare operator_policy --name o --pattern ^q --apply-to queues --definition '{"message-ttl":3600000}'
@ operator_policies declare --name o2 --pattern ^l --apply-to classic_queues --priority 2 --definition '{"max-length":1000}'
@ operator_policies declare --name wrong --pattern ^l --apply-to queues --definition '{"dead-letter-exchange":"x"}'
@ operator_policies patch --name o --definition '{"max-length":9}'
@ operator_policies update_definition --name o --definition-key max-length-bytes --new-value 99
@ operator_policies update_definitions_of_all_in --definition-key expires --new-value 86400000
@ operator_policies list_in
@ operator_policies list_matching_object --name q --type queues
@ operator_policies delete_definition_keys --name o --definition-keys max-length-bytes
@ operator_policies delete_definition_keys_from_all_in --definition-keys expires
operator_policies list
list operator_policies
parameters list_all
@ parameters list
@ list parameters --component operator_policy
@ parameters list_in --component vhost-limits
@ declare parameter --component vhost-limits --name limits --value '{"max-queues":51}'
@ parameters set --component nonsense --name x --value '{"a":1}'
@ parameters set --component operator_policy --name o3 --value '{"pattern":"^z","definition":{"max-length":1},"priority":1,"apply-to":"queues"}'
@ parameters clear --component operator_policy --name o3
@ parameters clear --component nonsense --name x
@ delete parameter --component operator_policy --name missing
global_parameters set --name admin.g --value '{"a":[1,2]}'
global_parameters list
global_parameters clear --name admin.g
global_parameters clear --name admin.g
shovels list_all
@ shovels list
@ shovels declare_amqp091 --name s --source-uri amqp:// --destination-uri amqp:// --source-queue q --destination-queue limited
@ shovels declare_amqp10 --name s --source-uri amqp:// --destination-uri amqp:// --source-address q --destination-address limited
@ shovels delete --name s
@ delete shovel --name s --idempotently
shovels disable_tls_peer_verification_for_all_source_uris
shovels disable_tls_peer_verification_for_all_destination_uris
shovels enable_tls_peer_verification_for_all_source_uris --node-local-ca-certificate-bundle-path /a --node-local-client-certificate-file-path /b --node-local-client-private-key-file-path /c
shovels enable_tls_peer_verification_for_all_destination_uris --node-local-ca-certificate-bundle-path /a --node-local-client-certificate-file-path /b --node-local-client-private-key-file-path /c
federation list_all_upstreams
federation list_all_links
@ federation declare_upstream --name u --uri amqp://
@ federation declare_upstream_for_queues --name u --uri amqp:// --queue-name q
@ federation declare_upstream_for_exchanges --name u --uri amqp:// --exchange-name x
@ federation delete_upstream --name u
federation disable_tls_peer_verification_for_all_upstreams
federation enable_tls_peer_verification_for_all_upstreams --node-local-ca-certificate-bundle-path /a --node-local-client-certificate-file-path /b --node-local-client-private-key-file-path /c
passwords salt_and_hash secret
passwords salt_and_hash secret --hashing-algorithm sha512
passwords salt_and_hash secret --hashing-algorithm nonsense
connections list
list connections --page 1 --page-size 10
list user_connections --username guest
users connections --username admin.u
connections list_of_user --username admin.missing
channels list
list channels --page 1 --page-size 10
list consumers
close connection --name missing
connections close --name {connection}
connections close --name missing --idempotently
close user_connections --username admin.missing
connections close_of_user --username admin.u
rebalance queues
queues rebalance
users declare --name admin.m --password secret --tags monitoring
--username admin.m --password secret list vhosts
--username admin.m --password secret --vhost admin.v queues list --columns name
--username admin.m --password secret declare vhost --name admin.none
--username admin.m --password secret --vhost admin.v declare queue --name none
--username admin.m --password secret --vhost admin.v publish message --routing-key q
--username admin.m --password secret definitions export --stdout
--username admin.m --password secret list parameters
--username admin.m --password secret auth_attempts stats --node {node}
--username admin.m --password wrong list vhosts
--username admin.u --password secret list vhosts
delete permissions --username admin.m
users delete --name admin.m
definitions export --file {file}
export definitions --file {file}
definitions export --file {transformed} -t prepare_for_quorum_queue_migration drop_empty_policies
definitions export --stdout -t obfuscate_usernames
definitions export --stdout -t exclude_users exclude_permissions exclude_runtime_parameters exclude_policies strip_cmq_keys_from_policies
@ definitions export_from_vhost --file {of_vhost}
@ definitions export_from_vhost --file {of_vhost_transformed} -t prepare_for_quorum_queue_migration strip_cmq_keys_from_policies drop_empty_policies
@ definitions export_from_vhost --stdout
@ delete binding --source x --destination-type queue --destination q --routing-key a.#
@ bindings delete --source x --destination-type queue --destination q --routing-key missing
@ bindings delete --source x --destination-type queue --destination q --routing-key missing --idempotently
@ bindings delete --source x --destination-type queue --destination limited --routing-key b --arguments '{"k":1}'
@ exchanges unbind --source x --destination-type exchange --destination f --routing-key f
@ delete exchange --name x
@ delete exchange --name x
@ exchanges delete --name x --idempotently
@ exchanges delete --name amq.direct
@ exchanges delete --name ""
@ queues delete_multiple --name-pattern ^many --dry-run
@ queues delete_multiple --name-pattern ^many --approve --output json
@ queues delete_multiple --name-pattern ^many --approve
@ queues delete --name q
@ delete queue --name q
@ queues delete --name q --idempotently
@ streams delete --name log2
@ delete stream --name log2
@ delete policy --name p
@ policies delete --name p
@ policies delete --name p2
@ delete operator_policy --name o
@ operator_policies delete --name o
@ import definitions --file {garbage}
import definitions --file {file}
definitions import --file {transformed}
@ definitions import_into_vhost --file {of_vhost}
@ definitions import_into_vhost --file {of_vhost_transformed}
definitions import --file {missing}
@ queues list --columns name,type,durable,arguments
@ list exchanges
@ list policies
@ list operator_policies
bindings list
users delete --name admin.u
delete user --name admin.u
delete user --name admin.u --idempotently
users delete --name admin.hash
users delete --name admin.algorithm
vhosts delete --name admin.v
@ list queues
@ show overview
nonsense
tanzu sds status_on_node --node x
""".strip().splitlines()


#: What a client of the test's own is called, and its queue.
CLIENT = "admin.client"

#: The command that closes its connection.
CLOSES_CLIENT = "connections close --name {connection}"

#: Figures that differ from one moment to the next: only what they are called is compared.
FIGURES = (
    "show overview", "show churn", "nodes list", "list nodes", "auth_attempts stats --node {node}",
    "show memory_breakdown_in_bytes --node {node}",
)

#: Lists of all that there is: what is not the test's own is left out.
OF_ALL = (
    "list vhosts", "vhosts list", "list users", "users list", "users permissions", "list permissions", "permissions list",
    "list bindings", "bindings list", "list policies", "policies list", "list operator_policies", "operator_policies list",
    "parameters list_all", "global_parameters list", "policies list_conflicting",
)

#: Columns that tell what a queue costs or how long it is, which RabbitMQ learns seconds later.
VOLATILE = ("memory", "message_count", "unacknowledged_message_count", "message_bytes", "connected_at")


class Program:
    """rabbitmqadmin, the broker that it speaks to, and a client that is connected meanwhile."""

    def __init__(self, path, address, directory):
        self.path = path
        self.host, self.port = address.rsplit(":", 1)
        overview = self.api("overview")
        amqp = next(listener["port"] for listener in overview["listeners"] if listener["protocol"] == "amqp")
        properties = {"connection_name": CLIENT}
        parameters = pika.ConnectionParameters(self.host, amqp, heartbeat=0, client_properties=properties)
        self.client = pika.BlockingConnection(parameters)
        channel = self.client.channel()
        channel.queue_declare(CLIENT, exclusive=True)
        channel.basic_qos(prefetch_count=7)
        channel.basic_consume(CLIENT, lambda *_: None, consumer_tag="tag")
        self.values = {"amqp": str(amqp), "node": overview["node"], "connection": self.connection()}
        names = ("file", "transformed", "of_vhost", "of_vhost_transformed", "payload", "garbage", "missing")
        self.files = {name: os.path.join(directory, name) for name in names}
        for name, text in (("payload", "five"), ("garbage", "{")):
            with open(self.files[name], "w", encoding="utf-8") as file:
                file.write(text)

    def api(self, path):
        """What the management API answers."""
        guest = base64.b64encode(b"guest:guest").decode()
        request = urllib.request.Request(f"http://{self.host}:{self.port}/api/{path}", headers={"authorization": f"Basic {guest}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def connection(self):
        """The name of the client's connection, when the broker shows it, its channel and its consumer: RabbitMQ does after a while."""
        deadline = time.monotonic() + PATIENCE
        while True:
            rows = [self.api(path) for path in ("connections", "channels", "consumers")]
            channels = [row for row in rows[1] if row.get("consumer_count") == 1 and row.get("prefetch_count") == 7]
            own = [row for row in rows[0] if row.get("client_properties", {}).get("connection_name") == CLIENT]
            if own and own[0].get("channels") == 1 and channels and rows[2]:
                return own[0]["name"]
            assert time.monotonic() < deadline, "the client is not shown"
            self.client.process_data_events(0.1)

    def answer(self, line):
        """Exit code, output and, if it writes one, file of a command."""
        words = shlex.split(line)
        flags = ["--host", self.host, "--port", self.port, "--table-style", "markdown"]
        if words[0] == "@":
            words[0:1] = ["--vhost", VHOST]
        for name, value in (self.values | self.files).items():
            words = [word.replace("{%s}" % name, value) for word in words]
        answer = run([self.path, *flags, *words], self.files)
        answer["output"] = self.normalised(re.sub(r"^@ |^(--\w+ \S+ )+", "", line), answer["output"])
        if line == CLOSES_CLIENT:
            answer["client"] = self.closed()
        if "export" in words and "--file" in words and answer["exit"] == 0:
            with open(words[words.index("--file") + 1], encoding="utf-8") as file:
                answer["file"] = definitions(json.load(file))
        return answer

    def closed(self):
        """What the client is told when its connection is closed."""
        try:
            self.client.process_data_events(PATIENCE)
        except pika.exceptions.ConnectionClosedByBroker as closed:
            return [closed.reply_code, closed.reply_text]
        raise AssertionError("the client's connection is open")

    def normalised(self, line, output):
        """Without what differs from broker to broker and from run to run."""
        text = "\n".join(output)
        if text.startswith("{") and "--stdout" in line:
            return definitions(json.loads(text))
        for name in ("connection", "node", "amqp"):
            text = re.sub(rf"(?<![\w.]){re.escape(self.values[name])}\b", name.upper(), text)
        text = text.replace(f":{self.port}", ":PORT")
        text = re.sub(rf"{re.escape(self.values['connection'].split(' ')[0].rsplit(':')[-1])}\b", "CLIENT", text)
        text = re.sub(r"~[A-Za-z0-9_-]{6}\b", "~HASH", re.sub(r"[A-Za-z0-9+/]{47,}=*", "HASH", text))
        lines = [line for line in text.splitlines() if line and "amq.rabbitmq.trace" not in line]
        return table(line, lines) if lines and lines[0].startswith("|") else lines


def table(line, lines):
    """The rows of a table, joined where a cell has several lines, and sorted where the order is the broker's."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in lines if not row.startswith("|-")]
    joined = rows[:1]
    for row in rows[1:]:
        if row[0] or len(joined) == 1:
            joined.append(row)
        else:
            joined[-1] = [", ".join(cell for cell in cells if cell) for cells in zip(joined[-1], row)]
    header, rows = joined[0], joined[1:]
    if line.startswith(FIGURES):
        rows = [row[:1] for row in rows]
    masked = [at for at, name in enumerate(header) if name in VOLATILE]
    for row in rows:
        for at in masked:
            row[at] = "N"
    if line.startswith(OF_ALL):
        rows = [row for row in rows if any("admin." in cell for cell in row)]
    if header[0] != "key":
        rows.sort()
    return [" | ".join(row) for row in (header, *rows)]


def definitions(exported):
    """What definitions say of the test's own objects, sorted."""
    if "rabbitmq_definition_format" not in exported and "users" not in exported and "queues" not in exported:
        return exported
    for name in ("product_name", "product_version", "rabbit_version", "original_cluster_name", "explanation"):
        exported.pop(name, None)
    for name, objects in exported.items():
        if isinstance(objects, list):
            for user in objects if name == "users" else ():
                user["password_hash"] = "HASH"
            texts = [json.dumps(each, sort_keys=True) for each in objects]
            texts = [re.sub(r"obfuscated-(\w+)-\d+", r"obfuscated-\1-N", text) for text in texts]
            own = "original_vhost_name" in exported or name in ("queues", "exchanges", "bindings") and not any('"vhost"' in text for text in texts)
            exported[name] = [json.loads(text) for text in sorted(texts) if own or "admin." in text]
    return exported


def v2(program, address):
    """The answers of a broker to all commands, in order."""
    with tempfile.TemporaryDirectory() as directory:
        program = Program(program, address, directory)
        return {f"{number:03} {line}": program.answer(line) for number, line in enumerate(COMMANDS)}


if __name__ == "__main__":
    json.dump(v2(*sys.argv[1:]), sys.stdout, indent=1, ensure_ascii=False)
    print()
