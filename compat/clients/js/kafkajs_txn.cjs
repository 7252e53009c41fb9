// The transactional program for kafkajs: see ../README.md.
const readline = require('node:readline')
const { Kafka, logLevel } = require('kafkajs')

const [brokers, transactionalId, timeoutMs] = process.argv.slice(2)
const kafka = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING })
const producer = kafka.producer({
  transactionalId, transactionTimeout: Number(timeoutMs), maxInFlightRequests: 1, idempotent: true,
})
let transaction

const ops = {
  init: () => producer.connect(),
  begin: async () => { transaction = await producer.transaction() },
  send: async ({ records }) => {
    const offsets = []
    for (const { topic, partition, value } of records) {
      const [at] = await transaction.send({ topic, acks: -1, messages: [{ partition, value }] })
      offsets.push(Number(at.baseOffset))
    }
    return { offsets }
  },
  stage: ({ group, topic, partition, offset }) => transaction.sendOffsets({
    consumerGroupId: group, topics: [{ topic, partitions: [{ partition, offset: String(offset) }] }],
  }),
  commit: () => transaction.commit(),
  abort: () => transaction.abort(),
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    let answer
    try {
      answer = (await ops[command.op](command)) || {}
    } catch (error) {
      answer = { error: String(error) }
    }
    if (Array.isArray(answer)) answer = {}
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

main()
