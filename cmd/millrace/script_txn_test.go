package main

import (
	"context"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"
)

// scriptHang leaves a transaction open, as a client does that dies: hang ID TOPIC.
func scriptHang(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: hang TRANSACTIONAL-ID TOPIC")
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("MILLRACE_BROKERS")), kgo.TransactionalID(args[0]),
		kgo.TransactionTimeout(10*time.Minute), kgo.DefaultProduceTopic(args[1]))
	ts.Check(err)
	defer cl.Close() // aborts nothing
	ts.Check(cl.BeginTransaction())
	ctx, cancel := context.WithTimeout(context.Background(), givesUp)
	defer cancel()
	ts.Check(cl.ProduceSync(ctx, kgo.StringRecord("left behind")).FirstErr())
}
