"""What rabbitmqadmin is asked to do, and what a broker makes of it: exit codes and outputs.

Run as a program, it prints the answers of a broker as JSON. Those of RabbitMQ 4.0.5 are recorded in rabbitmqadmin_v1.json:

    python3 rabbitmqadmin_commands.py v1 /usr/bin/rabbitmqadmin 127.0.0.1:15673 > rabbitmqadmin_v1.json
"""

import json
import os
import re
import subprocess
import sys
import tempfile

#: Seconds that one command may take.
PATIENCE = 60

#: Everything happens in a virtual host of its own, so that a broker that is used for other things answers the same.
VHOST = "admin.v"

V1 = """
declare vhost name=admin.v
declare vhost name=admin.v
declare user name=admin.u password=secret tags=monitoring
declare user name=admin.u password=secret tags=nonsense,
declare permission vhost=admin.v user=admin.u configure=.* write=.* read=^a
declare permission vhost=admin.v user=nobody configure=.* write=.* read=.*
declare permission vhost=admin.v user=admin.u configure=* write=.* read=.*
@ declare queue name=q durable=true
@ declare queue name=q durable=true
@ declare queue name=q durable=false
@ declare queue name=limited durable=true arguments={"x-max-length":3,"x-overflow":"reject-publish"}
@ declare queue name=broken arguments={"x-max-length":"three"}
@ declare queue name=quorum queue_type=quorum durable=true
@ declare queue name=log durable=true queue_type=stream
@ declare queue name=amq.mine
@ declare queue
@ declare exchange name=x type=topic
@ declare exchange name=x type=fanout
@ declare exchange name=i type=direct internal=true auto_delete=false durable=false
@ declare exchange name=wrong type=nonsense
@ declare binding source=x destination=q routing_key=a.#
@ declare binding source=x destination=limited routing_key=b arguments={"k":1}
@ declare binding source=x destination=i destination_type=exchange routing_key=i
@ declare binding source=x destination=missing routing_key=b
@ declare policy name=p pattern=^q definition={"max-length":100} apply-to=queues priority=3
@ declare policy name=wrong pattern=^q definition={"max-length":"many"}
@ declare operator_policy name=o pattern=^q definition={"message-ttl":3600000}
declare vhost_limit vhost=admin.v name=max-queues value=50
declare vhost_limit vhost=admin.v name=max-nonsense value=50
@ list vhost_limits
list users name tags
list vhosts name
@ list permissions vhost user configure write read
@ list queues name type durable auto_delete arguments state messages
@ list exchanges name type durable auto_delete internal
@ list bindings source destination destination_type routing_key arguments properties_key
@ list policies vhost name pattern apply-to priority definition
@ list operator_policies vhost name pattern definition
@ list parameters vhost component name
@ list connections
@ list channels
@ list consumers
list nodes name=nonsense
@ publish exchange=amq.default routing_key=q payload=one
@ publish exchange=x routing_key=a.b payload=two properties={"delivery_mode":2,"headers":{"h":1},"content_type":"text/plain"}
@ publish exchange=x routing_key=nowhere payload=three
@ publish exchange=missing routing_key=q payload=four
@ publish exchange=amq.default routing_key=q payload=Zml2ZQ== payload_encoding=base64
@ publish exchange=amq.default routing_key=q payload=%% payload_encoding=base64
@ get queue=q
@ get queue=q count=2 ackmode=ack_requeue_true
@ get queue=q ackmode=ack_requeue_false encoding=base64
@ get queue=q ackmode=reject_requeue_false payload_file=
@ get queue=q count=5 ackmode=ack_requeue_false
@ get queue=q
@ get queue=missing
@ get queue=q ackmode=nonsense
@ purge queue name=q
@ purge queue name=missing
@ export {file}
@ delete binding source=x destination_type=queue destination=q properties_key=a.%23
@ delete binding source=x destination_type=queue destination=q properties_key=missing
@ delete exchange name=x
@ delete exchange name=x
@ delete exchange name=amq.direct
@ delete queue name=q
@ delete queue name=q
@ delete policy name=p
@ delete policy name=p
@ delete operator_policy name=o
@ import {file}
@ import {garbage}
@ list queues name type durable
@ list exchanges name type
@ list bindings source destination routing_key
@ list policies vhost name pattern
delete vhost_limit vhost=admin.v name=max-queues
delete permission vhost=admin.v user=admin.u
delete permission vhost=admin.v user=admin.u
delete user name=admin.u
delete user name=admin.u
delete vhost name=admin.v
delete vhost name=admin.v
@ list queues
close connection name=missing
show overview cluster_tags
nonsense
""".strip().splitlines()


def run(command, files):
    """Exit code and output of a command, without what differs from run to run."""
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, text=True)
    text = done.stdout + done.stderr
    for name, path in files.items():
        text = text.replace(path, name)
    return {"exit": done.returncode, "output": [line.rstrip() for line in text.splitlines()]}


#: Lists of these are about all virtual hosts, whatever is asked for: what is not the test's own is left out.
OF_ALL = ("list users", "list vhost_limits", "list vhosts", "list permissions", "list policies", "list operator_policies", "list parameters")


def normalised(line, output):
    """Without what others made, the hashes that name bindings with arguments, and the exchange of RabbitMQ's firehose."""
    output = [re.sub(r"~[A-Za-z0-9_-]{6}\b", "~HASH", text) for text in output if "amq.rabbitmq.trace" not in text]
    if any(text.startswith("Traceback") for text in output):
        output = output[-1:]
    if line.removeprefix("@ ").startswith(OF_ALL):
        return output[:1] + [text for text in output[1:] if "admin." in text]
    return output


def v1(program, address):
    """The answers of a broker to all commands of version 1, in order."""
    host, port = address.rsplit(":", 1)
    with tempfile.TemporaryDirectory() as directory:
        files = {"file": os.path.join(directory, "file"), "garbage": os.path.join(directory, "garbage")}
        with open(files["garbage"], "w", encoding="utf-8") as garbage:
            garbage.write("{")
        answers = {}
        for line in V1:
            words = line.replace("{file}", files["file"]).replace("{garbage}", files["garbage"]).split()
            flags = ["-H", host, "-P", port, "-f", "tsv"]
            if words[0] == "@":
                words[0:1] = ["-V", VHOST]
            answer = run([sys.executable, program, *flags, *words], files)
            answer["output"] = normalised(line, answer["output"])
            answers[f"{len(answers):02} {line}"] = answer
    return answers


if __name__ == "__main__":
    VERSION, PROGRAM, ADDRESS = sys.argv[1:]
    json.dump({"v1": v1}[VERSION](PROGRAM, ADDRESS), sys.stdout, indent=1, ensure_ascii=False)
    print()
