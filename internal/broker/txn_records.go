package broker

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
	"millrace/record"
)

// Versions of Kafka's schemas of the transaction topic. Version 1 of the value
// has the fields of transaction.version 2 as tags; Kafka reads both.
const (
	txnKeyVersion   = 0
	txnValueVersion = 1
)

func txnKey(id string) []byte {
	key := kmsg.TxnMetadataKey{Version: txnKeyVersion, TransactionalID: id}
	return key.AppendTo(nil)
}

func txnRecord(id string, t txn.Txn) offsetsRecord {
	value := kmsg.TxnMetadataValue{
		Version:                  txnValueVersion,
		ProducerID:               t.Producer.ID,
		ProducerEpoch:            t.Producer.Epoch,
		TimeoutMillis:            t.TimeoutMs,
		State:                    kmsg.TransactionState(t.State),
		LastUpdateTimestamp:      int64(t.ChangedAt),
		StartTimestamp:           int64(t.StartedAt),
		PreviousProducerID:       t.PrevID,
		NextProducerID:           t.NextID,
		ClientTransactionVersion: int16(t.Version),
		NextProducerEpoch:        txn.None,
	}
	if t.NextID >= 0 {
		value.NextProducerEpoch = 0
	}
	for topic, partitions := range byTopic(t.Partitions) {
		vt := kmsg.NewTxnMetadataValueTopic()
		vt.Topic, vt.Partitions = string(topic), partitions
		value.Topics = append(value.Topics, vt)
	}
	return offsetsRecord{key: txnKey(id), value: value.AppendTo(nil)}
}

// byTopic goes through partitions that are in order, topic by topic.
func byTopic(partitions []record.TopicPartition) func(yield func(record.Topic, []int32) bool) {
	return func(yield func(record.Topic, []int32) bool) {
		for len(partitions) > 0 {
			topic := partitions[0].Topic
			var numbers []int32
			for len(partitions) > 0 && partitions[0].Topic == topic {
				numbers = append(numbers, int32(partitions[0].Partition))
				partitions = partitions[1:]
			}
			if !yield(topic, numbers) {
				return
			}
		}
	}
}

func parseTxnKey(b []byte) (id string, err error) {
	var key kmsg.TxnMetadataKey
	if err := key.ReadFrom(b); err != nil || key.Version != txnKeyVersion || key.TransactionalID == "" {
		return "", fmt.Errorf("%w: a transactional id's key", errNotUnderstood)
	}
	return key.TransactionalID, nil
}

// parseTxnValue reads a record that the log's checksum has proved; see
// parseOffsetsKey.
func parseTxnValue(b []byte) (txn.Txn, error) {
	var value kmsg.TxnMetadataValue
	if err := value.ReadFrom(b); err != nil || value.Version < 0 || value.Version > txnValueVersion {
		return txn.Txn{}, fmt.Errorf("%w: a transactional id's value", errNotUnderstood)
	}
	t := txn.Txn{
		State:    txn.State(value.State),
		Producer: txn.Producer{ID: value.ProducerID, Epoch: value.ProducerEpoch},
		PrevID:   value.PreviousProducerID, NextID: value.NextProducerID, LastEpoch: txn.None,
		TimeoutMs: value.TimeoutMillis,
		StartedAt: record.Timestamp(value.StartTimestamp), ChangedAt: record.Timestamp(value.LastUpdateTimestamp),
		Version: txn.Version(value.ClientTransactionVersion),
	}
	if t.State < txn.Empty || t.State > txn.CompleteAbort || t.Producer.ID < 0 {
		return txn.Txn{}, fmt.Errorf("%w: a transactional id in state %d", errNotUnderstood, value.State)
	}
	for _, topic := range value.Topics {
		for _, p := range topic.Partitions {
			t.Partitions = append(t.Partitions, record.TopicPartition{Topic: record.Topic(topic.Topic), Partition: record.Partition(p)})
		}
	}
	slices.SortFunc(t.Partitions, txn.ComparePartitions)
	t.Partitions = slices.Compact(t.Partitions)
	return t, nil
}
