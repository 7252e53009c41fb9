// The client program for kafkajs: see ../README.md. NODE_PATH names the folder
// that holds the package, which is why this is CommonJS.
const { readFileSync } = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function security() {
  const { CLIENT_PROTOCOL, CLIENT_MECHANISM, CLIENT_USER, CLIENT_PASSWORD, CLIENT_CA } = process.env;
  if (!CLIENT_PROTOCOL) return {};
  const sasl = { mechanism: CLIENT_MECHANISM.toLowerCase(), username: CLIENT_USER, password: CLIENT_PASSWORD };
  if (CLIENT_PROTOCOL !== "SASL_SSL") return { sasl };
  return { sasl, ssl: { ca: [readFileSync(CLIENT_CA)], servername: "localhost" } };
}

const connect = (brokers) => new Kafka({ brokers: brokers.split(","), logLevel: logLevel.ERROR, ...security() });

async function produce(brokers, topic, first, count, paceMs) {
  const producer = connect(brokers).producer();
  await producer.connect();
  for (let n = Number(first); n < Number(first) + Number(count); n++) {
    const click = { user_id: `user_${n % 7}`, timestamp: Math.floor(Date.now() / 1000), page: "home", n };
    try {
      const [sent] = await producer.send({ topic, messages: [{ value: JSON.stringify(click) }] });
      say({ acked: n, partition: sent.partition, offset: Number(sent.baseOffset) });
    } catch (error) {
      say({ failed: n, error: String(error) });
    }
    await pause(Number(paceMs));
  }
  await producer.disconnect();
}

async function consume(brokers, topic, group, count, sessionMs) {
  const settings = { groupId: group };
  if (Number(sessionMs)) {
    settings.sessionTimeout = Number(sessionMs);
    settings.heartbeatInterval = Number(sessionMs) / 3;
  }
  const consumer = connect(brokers).consumer(settings);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say({ assigned: payload.memberAssignment[topic] ?? [] }));
  let left = Number(count);
  await new Promise(async (done, fail) => {
    process.on("SIGTERM", done);
    consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || fail(payload.error));
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (Number(count) && left <= 0) return;
        say({ read: JSON.parse(message.value).n, partition, offset: Number(message.offset) });
        if (--left === 0) done();
      },
    });
  });
  await consumer.disconnect();
}

const [verb, ...rest] = process.argv.slice(2);
({ produce, consume })[verb](...rest).then(
  () => { say({ done: true }); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
