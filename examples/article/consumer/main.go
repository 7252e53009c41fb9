// Consumer counts clicks per user as a member of the group
// click_counter_group, against any Kafka broker. Start it twice: the two share
// the partitions, and one takes over when the other is gone. Ctrl-C commits what
// was counted and leaves the group.
//
//	go run ./examples/article/consumer
//	go run ./examples/article/consumer -brokers kafka:9092
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "broker addresses, comma-separated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(*brokers, ",")...), kgo.ConsumerGroup("click_counter_group"),
		kgo.ConsumeTopics("click_events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	clicks := map[string]int{} // of this run: a restart goes on from the committed offset, not from the start
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil {
				log.Printf("%s-%d: %v", topic, partition, err)
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			var click struct {
				UserID string `json:"user_id"`
			}
			if err := json.Unmarshal(r.Value, &click); err != nil {
				log.Printf("skipped %s-%d offset %d: %v", r.Topic, r.Partition, r.Offset, err)
				return
			}
			clicks[click.UserID]++
			fmt.Printf("User %s has clicked %d times.\n", click.UserID, clicks[click.UserID])
		})
	}
	if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
		log.Print(err)
	}
}
