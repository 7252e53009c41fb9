package main

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
)

// The program as it stands, on a broker of its own, stopped and started between
// two lines.
func TestWordCount(t *testing.T) {
	dir := t.TempDir()
	count(t, dir, "To be or not to be", map[string]string{"to": "2", "be": "2", "or": "1", "not": "1"})
	count(t, dir, "be that as it may", map[string]string{"to": "2", "be": "3", "or": "1", "not": "1", "that": "1", "as": "1", "it": "1", "may": "1"})
}

// count runs the job until the newest counts are those wanted.
func count(t *testing.T, dir, line string, want map[string]string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
	go func() {
		ended <- wordCount().Run(ctx, millrace.Embedded(dir), millrace.Listen("localhost:0"),
			millrace.OnReady(func(r millrace.Ready) { ready <- r }))
	}()
	var addresses []string
	select {
	case r := <-ready:
		addresses = r.Brokers
	case err := <-ended:
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.AllowAutoTopicCreation(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(counts.Name()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: lines.Name(), Value: []byte(line)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for !maps.Equal(got, want) {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("got %v, want %v", got, want)
		}
		fetches.EachRecord(func(r *kgo.Record) { got[string(r.Key)] = string(r.Value) })
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
