// Go's amqp091: deferred confirms, workers that share a queue, dead letters, returns, a request with its reply, and errors.
// Arguments: the broker's URL and a prefix for names. Ends with status 0 if all went as it should.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	messages = 200
	workers  = 4
	patience = 20 * time.Second
)

func main() {
	log.SetFlags(log.Lshortfile)
	connection, err := amqp.Dial(os.Args[1])
	check(err)
	prefix := os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	publishAndWork(ctx, connection, prefix)
	returned(ctx, connection)
	request(ctx, connection, prefix)
	refused(connection, prefix)
	check(connection.Close())
}

// Every message is confirmed and done by one of the workers; those that a worker rejects are dead letters.
func publishAndWork(ctx context.Context, connection *amqp.Connection, prefix string) {
	channel := open(connection)
	exchange, queue, dead := prefix+"exchange", prefix+"work", prefix+"dead"
	check(channel.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil))
	_, err := channel.QueueDeclare(dead, true, false, false, false, nil)
	check(err)
	_, err = channel.QueueDeclare(queue, true, false, false, false, amqp.Table{
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": dead,
		"x-max-length":              int32(10 * messages),
	})
	check(err)
	check(channel.QueueBind(queue, "job.*.go", exchange, false, nil))

	check(channel.Confirm(false))
	var confirms []*amqp.DeferredConfirmation
	for number := 0; number < messages; number++ {
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, "job."+strconv.Itoa(number)+".go", true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			ContentType:  "text/plain",
			Headers:      amqp.Table{"number": int64(number), "nested": amqp.Table{"list": []interface{}{"a", int32(1), true}}},
			MessageId:    strconv.Itoa(number),
			Timestamp:    time.Unix(int64(number), 0),
			Body:         []byte(strconv.Itoa(number)),
		})
		check(err)
		confirms = append(confirms, confirm)
	}
	for _, confirm := range confirms {
		expect(confirm.Wait(), "a message was nacked")
	}

	var done sync.WaitGroup
	var mutex sync.Mutex
	seen := map[string]int{}
	done.Add(messages)
	for worker := 0; worker < workers; worker++ {
		own := open(connection)
		check(own.Qos(5, 0, false))
		deliveries, err := own.Consume(queue, "", false, false, false, false, nil)
		check(err)
		go func() {
			for delivery := range deliveries {
				number, _ := strconv.Atoi(string(delivery.Body))
				expect(delivery.Headers["number"] == int64(number), "a header is wrong")
				expect(delivery.Headers["nested"].(amqp.Table)["list"].([]interface{})[1] == int32(1), "a nested header is wrong")
				expect(delivery.Timestamp.Unix() == int64(number), "a timestamp is wrong")
				mutex.Lock()
				seen[delivery.MessageId]++
				mutex.Unlock()
				if number%10 == 0 {
					check(delivery.Reject(false))
				} else {
					check(delivery.Ack(false))
				}
				done.Done()
			}
		}()
	}
	wait(&done)
	mutex.Lock()
	defer mutex.Unlock()
	expect(len(seen) == messages, fmt.Sprint("messages were lost: ", len(seen)))
	for id, times := range seen {
		expect(times == 1, "a message came again: "+id)
	}

	letters, err := channel.Consume(dead, "", true, false, false, false, nil)
	check(err)
	for number := 0; number < messages; number += 10 {
		letter := receive(letters)
		deaths := letter.Headers["x-death"].([]interface{})
		expect(deaths[0].(amqp.Table)["reason"] == "rejected", "another reason")
		expect(deaths[0].(amqp.Table)["queue"] == queue, "another queue")
	}
	for _, name := range []string{queue, dead} {
		_, err = channel.QueueDelete(name, false, false, false)
		check(err)
	}
	check(channel.ExchangeDelete(exchange, false, false))
	check(channel.Close())
}

// What has no queue comes back before its confirm.
func returned(ctx context.Context, connection *amqp.Connection) {
	channel := open(connection)
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	check(channel.Confirm(false))
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", "nowhere", true, false, amqp.Publishing{Body: []byte("x")})
	check(err)
	expect(confirm.Wait(), "it was nacked")
	select {
	case back := <-returns:
		expect(back.ReplyCode == amqp.NoRoute && back.ReplyText == "NO_ROUTE", back.ReplyText)
	default:
		log.Fatal("the return comes after the confirm")
	}
	check(channel.Close())
}

// A client asks over direct reply-to, a server answers.
func request(ctx context.Context, connection *amqp.Connection, prefix string) {
	server, client := open(connection), open(connection)
	queue, err := server.QueueDeclare(prefix+"rpc", false, true, false, false, nil)
	check(err)
	requests, err := server.Consume(queue.Name, "server", true, true, false, false, nil)
	check(err)
	replies, err := client.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	check(err)
	check(client.PublishWithContext(ctx, "", queue.Name, false, false, amqp.Publishing{
		ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "1", Body: []byte("21"),
	}))
	asked := receive(requests)
	number, _ := strconv.Atoi(string(asked.Body))
	check(server.PublishWithContext(ctx, "", asked.ReplyTo, false, false, amqp.Publishing{
		CorrelationId: asked.CorrelationId, Body: []byte(strconv.Itoa(2 * number)),
	}))
	reply := receive(replies)
	expect(string(reply.Body) == "42" && reply.CorrelationId == "1", "another reply")
	check(server.Cancel("server", false))
	// It was auto-delete.
	_, err = client.QueueDeclarePassive(queue.Name, false, true, false, false, nil)
	expect(err != nil && err.(*amqp.Error).Code == amqp.NotFound, fmt.Sprint("the queue is still there: ", err))
	check(server.Close())
}

// An error closes the channel, tells why, and leaves the connection open.
func refused(connection *amqp.Connection, prefix string) {
	channel := open(connection)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	err := channel.ExchangeDeclare("amq."+prefix, amqp.ExchangeDirect, false, false, false, false, nil)
	expect(err != nil && err.(*amqp.Error).Code == amqp.AccessRefused, fmt.Sprint("not refused: ", err))
	why := <-closed
	expect(why.Server && why.Code == amqp.AccessRefused, why.Error())
	expect(!connection.IsClosed(), "the connection is closed")
}

func open(connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	check(err)
	return channel
}

func receive(deliveries <-chan amqp.Delivery) amqp.Delivery {
	select {
	case delivery, open := <-deliveries:
		expect(open, "the consumer was cancelled")
		return delivery
	case <-time.After(patience):
		log.Fatal("no delivery")
		panic("unreachable")
	}
}

func wait(group *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		log.Fatal("not all was done")
	}
}

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func expect(holds bool, otherwise string) {
	if !holds {
		log.Output(2, otherwise)
		os.Exit(1)
	}
}
