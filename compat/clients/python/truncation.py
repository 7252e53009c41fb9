"""Follows one partition with librdkafka and reports how it learns that the log
was truncated under it: truncation.py BROKERS TOPIC COUNT

After COUNT records it says so, and waits for an error or for one record more.
auto.offset.reset=error turns the detected truncation into an error that names
it (_AUTO_OFFSET_RESET with a text, in librdkafka 2.16), instead of a silent
reset.
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition


def say(**what):
    print(json.dumps(what), flush=True)


def main(brokers, topic, count):
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": "truncation",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        # Long enough for the test to restart, truncate and append before the
        # client is back.
        "reconnect.backoff.ms": 3000,
    })
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = int(count)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            say(read=json.loads(message.value())["n"], partition=0, offset=message.offset())
            left -= 1
            if left < 0:
                break
        elif error.code() == KafkaError._LOG_TRUNCATION or "truncation" in str(error):
            say(truncated=True, error=str(error))
            break
        elif error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            say(failed=0, error=str(error))
            break
    consumer.close()
    say(done=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
