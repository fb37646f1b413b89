// Node's amqplib: a confirming publisher, a consumer with prefetch, dead letters, a request with direct reply-to.
// Arguments: the broker's URL and a prefix for names. Ends with status 0 if all went as it should.
'use strict'
const assert = require('node:assert')
const amqp = require('amqplib')

async function main(url, prefix) {
  const connection = await amqp.connect(url)
  const channel = await connection.createConfirmChannel()
  channel.on('error', () => {})
  const dead = prefix + 'dead'
  const work = prefix + 'work'
  await channel.assertQueue(dead, { durable: false })
  await channel.assertQueue(work, { durable: true, deadLetterExchange: '', deadLetterRoutingKey: dead })
  await channel.prefetch(3)

  const bodies = Array.from({ length: 100 }, (_, i) => String(i))
  for (const body of bodies) channel.sendToQueue(work, Buffer.from(body), { persistent: true })
  await channel.waitForConfirms()

  const seen = []
  await new Promise((resolve, reject) => {
    channel.consume(work, message => {
      if (message === null) return reject(new Error('the consumer was cancelled'))
      const body = message.content.toString()
      seen.push(body)
      if (Number(body) % 10 === 0) channel.nack(message, false, false)
      else channel.ack(message)
      if (seen.length === bodies.length) resolve()
    }).catch(reject)
  })
  assert.deepStrictEqual(seen, bodies)

  const rejected = []
  while (rejected.length < 10) {
    const message = await channel.get(dead, { noAck: true })
    if (!message) continue
    assert.strictEqual(message.properties.headers['x-first-death-reason'], 'rejected')
    rejected.push(message.content.toString())
  }
  assert.deepStrictEqual(rejected, bodies.filter(body => Number(body) % 10 === 0))

  const answer = new Promise(resolve => {
    channel.consume('amq.rabbitmq.reply-to', resolve, { noAck: true })
  })
  const rpc = prefix + 'rpc'
  await channel.assertQueue(rpc, { exclusive: true })
  await channel.consume(rpc, message => {
    channel.sendToQueue(message.properties.replyTo, Buffer.from(message.content.toString().toUpperCase()))
    channel.ack(message)
  })
  channel.sendToQueue(rpc, Buffer.from('question'), { replyTo: 'amq.rabbitmq.reply-to' })
  assert.strictEqual((await answer).content.toString(), 'QUESTION')

  await assert.rejects(channel.checkQueue(prefix + 'missing'), /404 \(NOT-FOUND\)/)
  const cleaner = await connection.createChannel()
  for (const queue of [dead, work, rpc]) await cleaner.deleteQueue(queue)
  await connection.close()
}

main(...process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exit(1)
})
