package broker_test

import (
	"fmt"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/log"
	"millrace/record"
)

// click is 62 bytes, as the figures in the documentation.
const click = `{"user_id":"user_123","timestamp":1763890000000,"page":"home"}`

const recordsPerBatch = 230 // fills 16 kB, the usual batch of Java clients

// BenchmarkProduce measures requests of one 16 kB batch, end to end over
// loopback, client included.
func BenchmarkProduce(b *testing.B) {
	for _, acks := range []int16{1, -1} {
		b.Run(fmt.Sprintf("acks=%d", acks), func(b *testing.B) {
			c := dial(b, serve(b, broker.Config{FS: openDir(b, b.TempDir())}).addr)
			c.createTopic("bench", 1)
			req := produceRequest(acks, "bench", 0, clicks(b))
			req.SetVersion(9)
			frame := c.form.AppendRequest(nil, req, 1)
			answered := make(chan struct{}, 16) // requests in flight
			done := make(chan struct{})
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			b.ResetTimer()
			go func() {
				defer close(done)
				for range b.N {
					if _, err := c.nextFrame(); err != nil {
						b.Errorf("read: %v", err)
						return
					}
					<-answered
				}
			}()
			for range b.N {
				answered <- struct{}{}
				c.write(frame)
			}
			<-done
			b.ReportMetric(float64(b.N)*recordsPerBatch/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkProduceOne measures one record at a time at acks=all: the latency of
// a sync and the way to it.
func BenchmarkProduceOne(b *testing.B) {
	c := dial(b, serve(b, broker.Config{FS: openDir(b, b.TempDir())}).addr)
	c.createTopic("bench", 1)
	req := produceRequest(-1, "bench", 0, records(b, click))
	req.SetVersion(9)
	frame := c.form.AppendRequest(nil, req, 1)
	b.ReportAllocs()
	for b.Loop() {
		c.write(frame)
		if _, err := c.nextFrame(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch measures fetches of up to 1 MiB from one partition.
func BenchmarkFetch(b *testing.B) {
	c := dial(b, serve(b, broker.Config{FS: openDir(b, b.TempDir()), Log: log.Options{Durability: log.OS}}).addr)
	c.createTopic("bench", 1)
	const batches = 512
	one := clicks(b)
	size := len(one)
	for range batches {
		if r := c.produce(1, "bench", 0, one); r.ErrorCode != 0 {
			b.Fatalf("code %d", r.ErrorCode)
		}
	}
	next := int64(0)
	req := fetchAsk("bench", 0, 0)
	req.SetVersion(12)
	b.ReportAllocs()
	received := 0
	for b.Loop() {
		req.Topics[0].Partitions[0].FetchOffset = next
		c.write(c.form.AppendRequest(nil, req, 1))
		frame, err := c.nextFrame()
		if err != nil {
			b.Fatal(err)
		}
		received += len(frame)
		next += int64(len(frame) / size * recordsPerBatch)
		if next >= batches*recordsPerBatch {
			next = 0
		}
	}
	b.SetBytes(int64(received / b.N))
	b.ReportMetric(float64(received/size*recordsPerBatch)/b.Elapsed().Seconds(), "records/s")
}

func clicks(t testing.TB) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
	for range recordsPerBatch {
		b.Append(record.TimestampOf(time.Now()), nil, []byte(click), nil)
	}
	raw, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), raw...)
}
