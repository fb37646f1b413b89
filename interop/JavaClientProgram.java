import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * The RabbitMQ client of Java. Arguments: the broker's URL, a prefix for names, and a word: `work` does a day's work and ends with
 * status 0 if all went as it should; `recover` prints "ready", lives through a restart of the broker while messages are published
 * and consumed, and then does the same.
 */
public final class JavaClientProgram {
    private static final int MESSAGES = 200;
    private static final int PATIENCE_MS = 20_000;

    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(arguments[0]);
        factory.setAutomaticRecoveryEnabled(true);
        factory.setTopologyRecoveryEnabled(true);
        factory.setNetworkRecoveryInterval(100);
        String prefix = arguments[1];
        try (Connection connection = factory.newConnection("interop")) {
            if (arguments[2].equals("recover")) {
                recover(connection, prefix);
            } else {
                publishAndWork(connection, prefix);
                headersAndTransactions(connection, prefix);
                returned(connection);
                request(connection, prefix);
                refused(connection, prefix);
            }
        }
        System.exit(0);
    }

    /** Every message is confirmed and done by one of the workers; what a worker rejects is a dead letter. */
    private static void publishAndWork(Connection connection, String prefix) throws Exception {
        String queue = prefix + "work";
        String dead = prefix + "dead";
        Channel channel = connection.createChannel();
        channel.queueDeclare(dead, true, false, false, null);
        Map<String, Object> settings = new HashMap<>();
        settings.put("x-dead-letter-exchange", "");
        settings.put("x-dead-letter-routing-key", dead);
        settings.put("x-max-priority", 5);
        channel.queueDeclare(queue, true, false, false, settings);
        channel.confirmSelect();
        for (int number = 0; number < MESSAGES; number++) {
            AMQP.BasicProperties properties = MessageProperties.PERSISTENT_TEXT_PLAIN.builder().priority(number % 6).build();
            channel.basicPublish("", queue, properties, Integer.toString(number).getBytes(StandardCharsets.UTF_8));
        }
        channel.waitForConfirmsOrDie(PATIENCE_MS);

        Set<String> seen = ConcurrentHashMap.newKeySet();
        CountDownLatch left = new CountDownLatch(MESSAGES);
        List<Channel> workers = new ArrayList<>();
        for (int worker = 0; worker < 3; worker++) {
            Channel own = connection.createChannel();
            workers.add(own);
            own.basicQos(10);
            own.basicConsume(queue, false, new DefaultConsumer(own) {
                @Override
                public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                        throws IOException {
                    String text = new String(body, StandardCharsets.UTF_8);
                    if (Integer.parseInt(text) % 10 == 0) {
                        own.basicReject(envelope.getDeliveryTag(), false);
                    } else {
                        own.basicAck(envelope.getDeliveryTag(), false);
                    }
                    if (seen.add(text)) {
                        left.countDown();
                    }
                }
            });
        }
        expect(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "messages were lost: " + left.getCount());
        for (Channel own : workers) {
            own.close();
        }
        for (int letters = 0; letters < MESSAGES / 10; ) {
            GetResponse letter = channel.basicGet(dead, true);
            if (letter != null) {
                List<?> deaths = (List<?>) letter.getProps().getHeaders().get("x-death");
                expect(((Map<?, ?>) deaths.get(0)).get("reason").toString().equals("rejected"), "another reason");
                letters++;
            }
        }
        expect(channel.messageCount(queue) == 0, "something is left");
        channel.queueDelete(queue);
        channel.queueDelete(dead);
        channel.close();
    }

    /** A headers exchange, and a transaction that is taken back before one that is not. */
    private static void headersAndTransactions(Connection connection, String prefix) throws Exception {
        Channel channel = connection.createChannel();
        String exchange = prefix + "headers";
        channel.exchangeDeclare(exchange, "headers", false, true, null);
        String queue = channel.queueDeclare().getQueue();
        Map<String, Object> wanted = new HashMap<>();
        wanted.put("x-match", "all");
        wanted.put("kind", "report");
        wanted.put("year", 2024);
        channel.queueBind(queue, exchange, "", wanted);
        channel.txSelect();
        for (boolean commit : new boolean[] {false, true}) {
            for (Object year : new Object[] {2024, 2023}) {
                Map<String, Object> headers = new HashMap<>();
                headers.put("kind", "report");
                headers.put("year", year);
                AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder().headers(headers).build();
                channel.basicPublish(exchange, "", properties, Boolean.toString(commit).getBytes(StandardCharsets.UTF_8));
            }
            if (commit) {
                channel.txCommit();
            } else {
                channel.txRollback();
            }
        }
        GetResponse only = channel.basicGet(queue, true);
        expect(only != null && new String(only.getBody(), StandardCharsets.UTF_8).equals("true"), "not what was committed");
        expect(only.getMessageCount() == 0 && channel.basicGet(queue, true) == null, "more than what was committed");
        channel.close();
    }

    /** What has no queue comes back before its confirm. */
    private static void returned(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        int[] code = {0};
        channel.addReturnListener((replyCode, replyText, exchange, key, properties, body) -> code[0] = replyCode);
        channel.basicPublish("", "nowhere", true, null, new byte[] {1});
        channel.waitForConfirmsOrDie(PATIENCE_MS);
        expect(code[0] == AMQP.NO_ROUTE, "not returned: " + code[0]);
        channel.close();
    }

    /** The client's own RPC, over direct reply-to. */
    private static void request(Connection connection, String prefix) throws Exception {
        String queue = prefix + "rpc";
        Channel serving = connection.createChannel();
        serving.queueDeclare(queue, false, true, false, null);
        RpcServer server = new RpcServer(serving, queue) {
            @Override
            public byte[] handleCall(byte[] question, AMQP.BasicProperties reply) {
                return new StringBuilder(new String(question, StandardCharsets.UTF_8)).reverse().toString()
                        .getBytes(StandardCharsets.UTF_8);
            }
        };
        Thread thread = new Thread(() -> {
            try {
                server.mainloop();
            } catch (IOException | ShutdownSignalException ended) {
                // The channel was closed.
            }
        });
        thread.start();
        RpcClient client = new RpcClient(connection.createChannel(), "", queue, PATIENCE_MS);
        expect(client.stringCall("question").equals("noitseuq"), "another answer");
        client.close();
        server.terminateMainloop();
        thread.join(PATIENCE_MS);
        serving.close();
    }

    /** An error closes the channel, tells why, and leaves the connection open. */
    private static void refused(Connection connection, String prefix) throws Exception {
        Channel channel = connection.createChannel();
        try {
            channel.queueDeclarePassive(prefix + "missing");
            throw new AssertionError("it is there");
        } catch (IOException error) {
            ShutdownSignalException signal = (ShutdownSignalException) error.getCause();
            AMQP.Channel.Close close = (AMQP.Channel.Close) signal.getReason();
            expect(close.getReplyCode() == AMQP.NOT_FOUND, close.getReplyText());
            expect(close.getReplyText().startsWith("NOT_FOUND - no queue '"), close.getReplyText());
        }
        expect(connection.isOpen() && !channel.isOpen(), "not only the channel is closed");
    }

    /** The client declares its topology anew and goes on; what was confirmed is there. */
    private static void recover(Connection connection, String prefix) throws Exception {
        String queue = prefix + "kept";
        Channel channel = connection.createChannel();
        channel.queueDeclare(queue, true, false, false, null);
        String temporary = channel.queueDeclare("", false, true, true, null).getQueue();
        String exchange = prefix + "exchange";
        channel.exchangeDeclare(exchange, "fanout", false, true, null);
        channel.queueBind(temporary, exchange, "");
        channel.confirmSelect();
        channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, "before".getBytes(StandardCharsets.UTF_8));
        channel.waitForConfirmsOrDie(PATIENCE_MS);
        CountDownLatch broadcast = new CountDownLatch(1);
        channel.basicConsume(temporary, true, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
                broadcast.countDown();
            }
        });
        CountDownLatch recovered = new CountDownLatch(1);
        ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
            @Override
            public void handleRecovery(Recoverable recoverable) {
                recovered.countDown();
            }

            @Override
            public void handleRecoveryStarted(Recoverable recoverable) {
            }
        });
        System.out.println("ready");
        expect(recovered.await(2 * PATIENCE_MS, TimeUnit.MILLISECONDS), "it does not recover");
        GetResponse kept = null;
        try {
            kept = channel.basicGet(queue, false);
        } catch (AlreadyClosedException closed) {
            throw new AssertionError("the channel is closed after the recovery", closed);
        }
        expect(kept != null && new String(kept.getBody(), StandardCharsets.UTF_8).equals("before"), "the message is lost");
        channel.basicAck(kept.getEnvelope().getDeliveryTag(), false);
        // The exclusive queue has another name now; exchange, binding and consumer are there again.
        channel.basicPublish(exchange, "", null, new byte[] {1});
        expect(broadcast.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "the binding or the consumer is gone");
        channel.queueDelete(queue);
        channel.close();
    }

    private static void expect(boolean holds, String otherwise) {
        if (!holds) {
            System.err.println(otherwise);
            new Throwable().printStackTrace();
            System.exit(1);
        }
    }
}
