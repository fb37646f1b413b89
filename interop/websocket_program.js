// cloudamqp's amqp-client over WebSocket, as in a browser: confirms, small and large messages, a consumer, an error.
// Argument: the URL. Ends with status 0 if all went as it should.
'use strict'
const assert = require('node:assert')
// Browsers and newer releases of Node have it.
globalThis.WebSocket ??= require('ws')

async function main(url) {
  const { AMQPWebSocketClient } = require('@cloudamqp/amqp-client')
  const connection = await new AMQPWebSocketClient(url, '/', 'guest', 'guest').connect()
  const channel = await connection.channel()
  await channel.confirmSelect()
  const { name } = await channel.queueDeclare('', { exclusive: true })

  const sizes = [0, 1, 4096, 100_000, 3_000_000]
  for (const size of sizes) {
    await channel.basicPublish('', name, new Uint8Array(size).fill(size % 251), { deliveryMode: 2 })
  }
  const received = []
  await new Promise((resolve, reject) => {
    channel.basicConsume(name, { noAck: false }, message => {
      const body = message.body
      received.push(body === null ? 0 : body.byteLength)
      if (body !== null) assert(body.every(byte => byte === body.byteLength % 251))
      message.ack()
      if (received.length === sizes.length) resolve()
    }).catch(reject)
  })
  assert.deepStrictEqual(received, sizes)

  const other = await connection.channel()
  await assert.rejects(other.queueDeclare('no.such.queue', { passive: true }), /404/)
  await connection.close()
}

main(...process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exit(1)
})
