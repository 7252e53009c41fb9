package broker

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"millrace/internal/txn"
	"millrace/record"
)

func TestTxnRecordsRoundTrip(t *testing.T) {
	for _, want := range []txn.Txn{
		txn.New(7, 100),
		{
			State: txn.PrepareCommit, Producer: txn.Producer{ID: 7, Epoch: math.MaxInt16}, PrevID: 7, NextID: 9, LastEpoch: txn.None,
			TimeoutMs: 60_000, StartedAt: 100, ChangedAt: 200, Version: txn.V2,
			Partitions: []record.TopicPartition{{Topic: "a", Partition: 1}, {Topic: "a", Partition: 3}, {Topic: "b"}},
		},
	} {
		r := txnRecord("id", want)
		if id, err := parseTxnKey(r.key); err != nil || id != "id" {
			t.Errorf("key: %q, %v", id, err)
		}
		if got, err := parseTxnValue(r.value); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("value: %+v, %v, want %+v", got, err, want)
		}
	}
}

// A log that Kafka has written may hold the older schema; what nobody can have
// written is passed over.
func TestForeignTxnRecords(t *testing.T) {
	old := []byte{0, 0, // version
		0, 0, 0, 0, 0, 0, 0, 7, 0, 5, 0, 0, 0xea, 0x60, 1, // producer, epoch, timeout, Ongoing
		0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, // t: 3, 1
		0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 100}
	got, err := parseTxnValue(old)
	if err != nil || got.State != txn.Ongoing || got.Producer != (txn.Producer{ID: 7, Epoch: 5}) || got.Version != txn.V1 ||
		got.PrevID != txn.None || got.NextID != txn.None || len(got.Partitions) != 2 || got.Partitions[0].Partition != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, value := range [][]byte{nil, {0}, {0, 9}, old[:len(old)-1], append([]byte{0, 0, 0xff}, old[3:]...), changedByte(old, 16, 7), changedByte(old, 16, 6)} {
		if got, err := parseTxnValue(value); err == nil {
			t.Errorf("%v was taken for %+v", value, got)
		}
	}
	for _, key := range [][]byte{nil, {0, 0}, {0, 0, 0, 0}, {0, 1, 0, 1, 'x'}} {
		if id, err := parseTxnKey(key); err == nil {
			t.Errorf("%v was taken for %q", key, id)
		}
	}
}

func changedByte(b []byte, at int, value byte) []byte {
	b = bytes.Clone(b)
	b[at] = value
	return b
}

// FuzzTxnRecords looks for panics in what the start reads, and for values that
// change when they are written again.
func FuzzTxnRecords(f *testing.F) {
	r := txnRecord("id", txn.Txn{State: txn.Ongoing, PrevID: 1, NextID: txn.None, Partitions: []record.TopicPartition{{Topic: "t"}}, Version: txn.V2})
	f.Add(r.key, r.value)
	empty := txnRecord("id", txn.New(1, 0))
	f.Add(empty.key, empty.value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if id, err := parseTxnKey(key); err == nil {
			if again, err := parseTxnKey(txnKey(id)); again != id || err != nil {
				t.Errorf("%q became %q, %v", id, again, err)
			}
		}
		if got, err := parseTxnValue(value); err == nil {
			again, err := parseTxnValue(txnRecord("id", got).value)
			if err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("%+v became %+v, %v", got, again, err)
			}
		}
	})
}
