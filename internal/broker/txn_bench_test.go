package broker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
)

// BenchmarkTransaction is one transaction over four partitions with 100 records
// and offsets, on this machine's disk, from its first record to the answer to
// its commit; the next one begins at once.
func BenchmarkTransaction(b *testing.B) {
	for _, v2 := range []bool{false, true} {
		b.Run(fmt.Sprintf("v2=%v", v2), func(b *testing.B) {
			b.ReportAllocs()
			n := serve(b, broker.Config{FS: openDir(b, b.TempDir())})
			dial(b, n.addr).createTopic("t", 4)
			p := newTxnProducer(b, n, "id", v2)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				p.hundred("t")
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			rounds, transactions := n.TransactionRounds()
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(rounds)/float64(transactions), "rounds/txn")
		})
	}
}

// hundred is a transaction of 25 records in each of four partitions, and an
// offset.
func (p *txnProducer) hundred(topic string) {
	if !p.v2 {
		p.must("AddPartitionsToTxn", p.add(topic, 0, 1, 2, 3))
	}
	values := make([]string, 25)
	for i := range values {
		values[i] = "a record of a usual size, which is about a hundred bytes, as people count them in such comparisons"
	}
	req := produceRequest(-1, topic, 0, nil)
	req.TransactionID = &p.id
	req.Topics[0].Partitions = nil
	for partition := range int32(4) {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = partition
		rp.Records = build(p.t, batch.BuilderOptions{
			ProducerID: p.producer, ProducerEpoch: p.epoch, BaseSequence: p.sequence[partition], Transactional: true,
		}, values...)
		p.sequence[partition] += 25
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	resp := call[*kmsg.ProduceResponse](p.rawConn, p.version(9, 12), req)
	p.must("Produce", resp.Topics[0].Partitions[0].ErrorCode)
	if !p.v2 {
		p.must("AddOffsetsToTxn", p.addGroup())
	}
	p.must("TxnOffsetCommit", p.stage(topic, 1))
	p.must("EndTxn", p.end(true))
}
