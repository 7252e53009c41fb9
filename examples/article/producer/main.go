// Producer sends ten clicks of user_123 on the page home, one a second, to any
// Kafka broker, and flushes before it exits.
//
//	go run ./examples/article/producer
//	go run ./examples/article/producer -brokers kafka:9092 -batch-size 65536 -linger 20ms
//
// docs/batching.md says what batch size and linger cost and bring.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "broker addresses, comma-separated")
	batchSize := flag.Int("batch-size", 16384, "largest batch, in bytes")
	linger := flag.Duration("linger", 10*time.Millisecond, "how long a batch waits to fill")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(*brokers, ",")...), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchMaxBytes(int32(*batchSize)), kgo.ProducerLinger(*linger), kgo.RecordDeliveryTimeout(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for i := 0; i < 10 && ctx.Err() == nil; i++ {
		click := fmt.Sprintf(`{"user_id":"user_123","timestamp":%d,"page":"home"}`, time.Now().UnixMilli())
		record := &kgo.Record{Topic: "click_events", Key: []byte("user_123"), Value: []byte(click)}
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				log.Fatalf("not sent: %v", err)
			}
			fmt.Printf("Sent to partition %d at offset %d: %s\n", r.Partition, r.Offset, r.Value)
		})
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	if err := client.Flush(context.Background()); err != nil {
		log.Fatal(err)
	}
}
