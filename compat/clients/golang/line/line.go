// Package line is the command line and the output that all client programs in
// Go share: see ../../README.md.
package line

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Produce are the arguments of the verb produce.
type Produce struct {
	Broker, Topic string
	First, Count  int
	Pace          time.Duration
}

// Consume are the arguments of the verb consume.
type Consume struct {
	Broker, Topic, Group string
	Count                int           // 0: until SIGTERM
	Session              time.Duration // 0: the library's default
	Instance             string        // empty: not static
}

// Main runs the verb that the command line names and exits.
func Main(produce func(context.Context, Produce) error, consume func(context.Context, Consume) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:], produce, consume); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say(map[string]any{"done": true})
}

func dispatch(ctx context.Context, args []string, produce func(context.Context, Produce) error, consume func(context.Context, Consume) error) error {
	if len(args) < 6 {
		return fmt.Errorf("want: produce BROKERS TOPIC FIRST COUNT PACE_MS | consume BROKERS TOPIC GROUP COUNT SESSION_MS INSTANCE")
	}
	number := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	if args[0] == "produce" {
		return produce(ctx, Produce{args[1], args[2], number(3), number(4), time.Duration(number(5)) * time.Millisecond})
	}
	c := Consume{Broker: args[1], Topic: args[2], Group: args[3], Count: number(4), Session: time.Duration(number(5)) * time.Millisecond}
	if args[6] != "-" {
		c.Instance = args[6]
	}
	return consume(ctx, c)
}

// Click is the value of record n.
func Click(n int) []byte {
	return fmt.Appendf(nil, `{"user_id":"user_%d","timestamp":%d,"page":"home","n":%d}`, n%7, time.Now().Unix(), n)
}

var output sync.Mutex // client libraries call back from several goroutines

func say(what map[string]any) {
	raw, _ := json.Marshal(what)
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(raw, '\n'))
}

// Acked reports what became of click n.
func Acked(n int, partition int32, offset int64, err error) {
	if err != nil {
		say(map[string]any{"failed": n, "error": err.Error()})
		return
	}
	say(map[string]any{"acked": n, "partition": partition, "offset": offset})
}

// Read reports a consumed click.
func Read(value []byte, partition int32, offset int64) error {
	var click struct{ N int }
	if err := json.Unmarshal(value, &click); err != nil {
		return err
	}
	say(map[string]any{"read": click.N, "partition": partition, "offset": offset})
	return nil
}

// Assigned reports the end of a rebalance.
func Assigned(partitions []int32) {
	if partitions == nil {
		partitions = []int32{}
	}
	say(map[string]any{"assigned": partitions})
}
