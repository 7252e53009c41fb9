package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
)

// Topics come and go, grow and change while others write to them and wait for
// their records: nothing hangs, every answer is one of the expected ones, and
// all memory is given back.
func TestTopicsComeAndGoUnderLoad(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New(), Log: log.Options{CheckpointInterval: time.Millisecond, RetentionInterval: time.Millisecond}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	topic := func(rng *rand.Rand) string { return fmt.Sprint("t", rng.IntN(3)) }
	allowed := map[int16]bool{0: true, 1: true, 3: true, 36: true, 37: true, 45: true}
	expect := func(what string, code int16) {
		if !allowed[code] {
			t.Errorf("%s: code %d", what, code)
		}
	}
	verbs := []func(*rawConn, *rand.Rand){
		func(c *rawConn, rng *rand.Rand) {
			req := kmsg.NewPtrCreateTopicsRequest()
			rt := kmsg.NewCreateTopicsRequestTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic(rng), 3, 1
			req.Topics = append(req.Topics, rt)
			expect("create", call[*kmsg.CreateTopicsResponse](c, 5, req).Topics[0].ErrorCode)
		},
		func(c *rawConn, rng *rand.Rand) {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TopicNames = []string{topic(rng)}
			expect("delete", call[*kmsg.DeleteTopicsResponse](c, 4, req).Topics[0].ErrorCode)
		},
		func(c *rawConn, rng *rand.Rand) {
			expect("grow", c.createPartitions(topic(rng), 3+rng.Int32N(3), false).ErrorCode)
		},
		func(c *rawConn, rng *rand.Rand) {
			code, _ := c.alter(topic(rng), false, "segment.bytes", fmt.Sprint(1024+rng.IntN(4096)))
			expect("alter", code)
		},
		func(c *rawConn, rng *rand.Rand) { c.metadata(true, topic(rng)) },
		func(c *rawConn, rng *rand.Rand) {
			expect("delete records", c.deleteRecords(topic(rng), rng.Int32N(3), -1).ErrorCode)
		},
	}
	writer := func(c *rawConn, rng *rand.Rand) {
		id := c.initProducer()
		name, partition := topic(rng), rng.Int32N(3)
		for sequence := range int32(20) {
			raw := build(t, batch.BuilderOptions{ProducerID: id, BaseSequence: sequence}, string(make([]byte, 300)))
			expect("produce", c.produce(int16(rng.IntN(2)*2-1), name, partition, raw).ErrorCode)
		}
	}
	reader := func(c *rawConn, rng *rand.Rand) {
		req := fetchAsk(topic(rng), rng.Int32N(3), rng.Int64N(30))
		req.MaxWaitMillis = rng.Int32N(50)
		expect("fetch", c.fetch(req).ErrorCode)
	}
	var clients sync.WaitGroup
	for seed := range uint64(12) {
		c := dial(t, n.addr)
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for ctx.Err() == nil {
				switch {
				case seed < 4:
					writer(c, rng)
				case seed < 8:
					reader(c, rng)
				default:
					verbs[rng.IntN(len(verbs))](c, rng)
				}
			}
		})
	}
	clients.Wait()
	c := dial(t, n.addr)
	c.createTopic("last", 1)
	c.mustProduce("last", 0, "x")
	waitUntil(t, "all memory is given back", func() bool { return n.RequestMemoryBytes()+n.AnswerMemoryBytes() == 0 })
}
