"""The client program for confluent-kafka (librdkafka): see ../README.md."""

import json
import os
import signal
import sys
import time

from confluent_kafka import Consumer, Producer


def say(**what):
    print(json.dumps(what), flush=True)


def security():
    protocol = os.environ.get("CLIENT_PROTOCOL")
    if not protocol:
        return {}
    settings = {
        "security.protocol": protocol,
        "sasl.mechanisms": os.environ["CLIENT_MECHANISM"],
        "sasl.username": os.environ["CLIENT_USER"],
        "sasl.password": os.environ["CLIENT_PASSWORD"],
    }
    if protocol == "SASL_SSL":
        settings["ssl.ca.location"] = os.environ["CLIENT_CA"]
    return settings


def produce(brokers, topic, first, count, pace_ms):
    producer = Producer({"bootstrap.servers": brokers, **security()})
    for n in range(int(first), int(first) + int(count)):
        click = {"user_id": f"user_{n % 7}", "timestamp": int(time.time()), "page": "home", "n": n}
        producer.produce(topic, json.dumps(click), on_delivery=delivered(n))
        producer.poll(int(pace_ms) / 1000)
    producer.flush()


def delivered(n):
    def report(error, message):
        if error is not None:
            say(failed=n, error=str(error))
        else:
            say(acked=n, partition=message.partition(), offset=message.offset())

    return report


def consume(brokers, topic, group, count, session_ms, instance):
    settings = {"bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest", **security()}
    if int(session_ms):
        settings["session.timeout.ms"] = int(session_ms)
    if instance != "-":
        settings["group.instance.id"] = instance
    consumer = Consumer(settings)
    consumer.subscribe([topic], on_assign=assigned)
    left = int(count)
    try:
        while True:
            message = consumer.poll(0.5)
            if message is None or message.error():
                continue
            say(read=json.loads(message.value())["n"], partition=message.partition(), offset=message.offset())
            left -= 1
            if left == 0:
                break
    finally:
        consumer.close()


def assigned(_, partitions):
    say(assigned=sorted(tp.partition for tp in partitions))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
    say(done=True)
