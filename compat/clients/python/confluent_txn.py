"""The transactional program for confluent-kafka (librdkafka): see ../README.md."""

import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition


class Txn:
    def __init__(self, brokers, transactional_id, timeout_ms):
        self.brokers = brokers
        self.timeout = int(timeout_ms) / 1000
        self.consumers = {}
        self.producer = Producer({
            "bootstrap.servers": brokers,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(timeout_ms),
            "message.timeout.ms": int(timeout_ms),
            "socket.connection.setup.timeout.ms": 2000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "retry.backoff.ms": 20,
            "linger.ms": 0,
        })

    def init(self, _):
        self.producer.init_transactions(30)

    def begin(self, _):
        self.producer.begin_transaction()

    def send(self, command):
        records = command["records"]
        offsets, errors = [-1] * len(records), []

        def delivered(i):
            def report(error, message):
                if error is None:
                    offsets[i] = message.offset()
                else:
                    errors.append(str(error))
            return report

        for i, record in enumerate(records):
            self.producer.produce(record["topic"], record["value"], partition=record["partition"], on_delivery=delivered(i))
        self.producer.flush()
        if errors:
            return {"error": errors[0], "offsets": offsets}
        return {"offsets": offsets}

    def stage(self, command):
        group = command["group"]
        if group not in self.consumers:
            self.consumers[group] = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        metadata = self.consumers[group].consumer_group_metadata()
        offset = TopicPartition(command["topic"], command["partition"], command["offset"])
        self.producer.send_offsets_to_transaction([offset], metadata, 10)

    def commit(self, _):
        self.producer.commit_transaction(20)

    def abort(self, _):
        self.producer.abort_transaction(20)


def main(brokers, transactional_id, timeout_ms):
    txn = Txn(brokers, transactional_id, timeout_ms)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(txn, command["op"])(command) or {}
        except Exception as error:  # every error of the library is an answer
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
