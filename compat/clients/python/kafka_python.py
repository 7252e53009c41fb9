"""The client program for kafka-python, 2.0.2 and 3.x alike: see ../README.md."""

import json
import os
import signal
import sys
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer


def say(**what):
    print(json.dumps(what), flush=True)


def security():
    protocol = os.environ.get("CLIENT_PROTOCOL")
    if not protocol:
        return {}
    settings = {
        "security_protocol": protocol,
        "sasl_mechanism": os.environ["CLIENT_MECHANISM"],
        "sasl_plain_username": os.environ["CLIENT_USER"],
        "sasl_plain_password": os.environ["CLIENT_PASSWORD"],
    }
    if protocol == "SASL_SSL":
        settings["ssl_cafile"] = os.environ["CLIENT_CA"]
    return settings


def produce(brokers, topic, first, count, pace_ms):
    producer = KafkaProducer(
        bootstrap_servers=brokers,
        value_serializer=lambda value: json.dumps(value).encode("utf-8"),
        **security(),
    )
    for n in range(int(first), int(first) + int(count)):
        click = {"user_id": f"user_{n % 7}", "timestamp": int(time.time()), "page": "home", "n": n}
        producer.send(topic, click).add_callback(acked, n).add_errback(failed, n)
        time.sleep(int(pace_ms) / 1000)
    producer.flush()
    producer.close()


def acked(n, metadata):
    say(acked=n, partition=metadata.partition, offset=metadata.offset)


def failed(n, error):
    say(failed=n, error=repr(error))


class Listener(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        say(assigned=sorted(tp.partition for tp in assigned))


def consume(brokers, topic, group, count, session_ms, instance):
    settings = security()
    if int(session_ms):
        settings["session_timeout_ms"] = int(session_ms)
        settings["heartbeat_interval_ms"] = int(session_ms) // 3
    if instance != "-":
        settings["group_instance_id"] = instance
    consumer = KafkaConsumer(
        bootstrap_servers=brokers,
        group_id=group,
        auto_offset_reset="earliest",
        value_deserializer=lambda value: json.loads(value.decode("utf-8")),
        **settings,
    )
    consumer.subscribe([topic], listener=Listener())
    left = int(count)
    try:
        for record in consumer:
            say(read=record.value["n"], partition=record.partition, offset=record.offset)
            left -= 1
            if left == 0:
                break
    finally:
        consumer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
    say(done=True)
