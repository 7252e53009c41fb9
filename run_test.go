package millrace_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	"millrace/codec"
)

// TestRunEmbedded runs a word count on a broker in this process, twice on the
// same directory, and reads what any Kafka client would read.
func TestRunEmbedded(t *testing.T) {
	lines := millrace.NewTopic("lines", codec.String, codec.String)
	counts := millrace.NewTopic("counts", codec.String, codec.Int64)
	dir := t.TempDir()
	for round := range 2 {
		app := millrace.New("words")
		words := app.From(lines).FlatMap(func(line string, emit func(string)) {
			for w := range strings.FieldsSeq(line) {
				emit(w)
			}
		})
		words.GroupBy(func(w string) string { return w }).Count("word").To(counts)
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
		go func() {
			ended <- app.Run(ctx, millrace.Embedded(dir), millrace.Listen("localhost:0"), millrace.CommitInterval(10*time.Millisecond),
				millrace.OnReady(func(r millrace.Ready) { ready <- r }))
		}()
		select {
		case r := <-ready:
			countWords(ctx, t, r.Brokers, int64(3*(round+1)))
		case err := <-ended:
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// countWords sends a line with three times "so" and waits for the count.
func countWords(ctx context.Context, t *testing.T, brokers []string, want int64) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("counts"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "lines", Value: []byte("so it goes so so")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	seen := int64(0)
	for seen < want {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the count of \"so\" stands at %d, want %d", seen, want)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Key) != "so" {
				return
			}
			n, err := codec.Int64.Decode(r.Value)
			if err != nil {
				t.Error(err)
			}
			seen = n
		})
	}
	if seen != want {
		t.Errorf("the count of \"so\" is %d, want %d", seen, want)
	}
}
