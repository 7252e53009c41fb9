package main

import (
	"bufio"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/record"
)

const produceHelp = `Send one record per line of stdin. With --key-field each line is a JSON object and
that field, a string or a number, becomes the record's key: records with the same
key share a partition and keep their order.

Acknowledgement is by all in-sync replicas unless --acks says otherwise, so that a
retry neither loses nor doubles a line. Lines that failed make the exit code 1. The
result tells how long a line waited for its acknowledgement on average.`

const produceExample = `  echo '{"user_id":"ana","timestamp":1768473069,"page":"/"}' | millrace produce click_events
  millrace produce click_events --key-field user_id < clicks.jsonl
  millrace produce logs --compression zstd --linger 50ms --batch-size 500000 < big.log`

// flushWithin bounds the wait for acknowledgements after the input has ended.
const flushWithin = 2 * time.Minute

type produceFlags struct {
	keyField    string
	acks        string
	batchSize   int
	linger      time.Duration
	compression string
	rate        float64
	cluster     cluster
	output      output
}

func (a *app) produceCommand() *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:     "produce TOPIC",
		Short:   "Send one record per line of stdin",
		Long:    produceHelp,
		Example: produceExample,
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.produce(cmd.Context(), record.Topic(args[0]), f)
		},
		ValidArgsFunction: a.completeTopics(&f.cluster),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keyField, "key-field", "", "JSON field that becomes the key")
	flags.Float64Var(&f.rate, "rate", 0, "lines per second (default: as fast as possible)")
	f.registerProducer(cmd)
	f.cluster.register(cmd)
	f.output.register(cmd)
	return cmd
}

// registerProducer adds the flags that shape batches; docs/batching.md says
// what they cost.
func (f *produceFlags) registerProducer(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.acks, "acks", "", "all (default): on stable storage; 1: taken by the leader; 0: sent")
	flags.IntVar(&f.batchSize, "batch-size", 0, "largest batch in bytes before compression (default 1000000)")
	flags.DurationVar(&f.linger, "linger", 5*time.Millisecond, "how long a batch may wait to fill")
	flags.StringVar(&f.compression, "compression", "", "none (default), gzip, snappy, lz4 or zstd")
	complete(cmd, "acks", "all", "1", "0")
	complete(cmd, "compression", "none", "gzip", "snappy", "lz4", "zstd")
}

// config is the cluster's configuration with the flags above it.
func (f *produceFlags) config() (client.Config, error) {
	switch {
	case f.rate < 0 || f.rate > maxRate:
		return client.Config{}, usage(fmt.Sprintf("use 0 (as fast as possible) to %d", maxRate), "--rate is %v", f.rate)
	case f.linger < 0:
		return client.Config{}, usage("use a time such as 5ms, or 0 for none", "--linger is %v", f.linger)
	case f.batchSize < 0:
		return client.Config{}, usage("use a number of bytes, or leave it away", "--batch-size is %d", f.batchSize)
	}
	config, err := f.cluster.config()
	if err != nil {
		return config, err
	}
	if f.acks != "" {
		if config.Acks, err = client.ParseAcks(f.acks); err != nil {
			return config, usage("use --acks all, 1 or 0", "%s", err)
		}
	}
	if f.batchSize != 0 {
		config.BatchBytes = f.batchSize
	}
	if f.compression != "" {
		config.Compression = f.compression
	}
	config.Linger = f.linger
	if f.linger == 0 {
		config.Linger = -1
	}
	if err := config.Validate(); err != nil {
		return config, usage("correct the flag", "%s", err)
	}
	return config, nil
}

func (a *app) produce(ctx context.Context, topic record.Topic, f produceFlags) error {
	if err := topic.Validate(); err != nil {
		return usage("name a topic", "%s", err)
	}
	config, err := f.config()
	if err != nil {
		return err
	}
	if err := client.Check(ctx, config); err != nil {
		return err
	}
	producer, err := client.NewProducer(config, nil)
	if err != nil {
		return err
	}
	defer producer.Close()
	if isTerminal(a.stdin) {
		a.say("reading lines; Ctrl-D ends")
	}
	p := pace{perSecond: f.rate}
	readErr := a.eachLine(ctx, func(number int, line []byte) error {
		r := record.Record{TopicPartition: record.TopicPartition{Topic: topic}, Value: line}
		if f.keyField != "" {
			if r.Key, err = keyOf(line, f.keyField); err != nil {
				return &fault{code: "E1601", exit: exitFailed, what: fmt.Sprintf("line %d: %s; no later line was sent", number, err), fix: "correct the line, or leave --key-field away"}
			}
		}
		if !p.next(ctx) {
			return nil
		}
		return producer.Send(ctx, r)
	})
	return errors.Join(a.settle(producer, config.Acks, string(topic), f.output), readErr)
}

// maxLineBytes is somewhat above what a broker takes: longer lines are refused
// here, with their number.
const maxLineBytes = 16 << 20

// eachLine calls do with every line of stdin until ctx ends. A read that waits
// for input cannot be interrupted, so reading runs beside: at ctx's end that
// goroutine is left to the end of the process.
func (a *app) eachLine(ctx context.Context, do func(number int, line []byte) error) error {
	type numbered struct {
		number int
		line   []byte
	}
	lines := make(chan numbered, 64)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(a.stdin)
		in.Buffer(make([]byte, 64<<10), maxLineBytes)
		number := 0
		for in.Scan() {
			number++
			select {
			case lines <- numbered{number, append([]byte(nil), in.Bytes()...)}:
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
		failed <- inputFault(number, in.Err())
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case l, open := <-lines:
			if !open {
				return <-failed
			}
			if err := do(l.number, l.line); err != nil {
				if errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			}
		}
	}
}

func inputFault(number int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return &fault{code: "E1602", exit: exitFailed, what: fmt.Sprintf("line %d is longer than %s", number+1, bytesText(maxLineBytes)), fix: "split it: brokers take about 1 MB per record"}
	default:
		return fmt.Errorf("read stdin after line %d: %w", number, err)
	}
}

// keyOf is the text of a field of a JSON object.
func keyOf(line []byte, field string) ([]byte, error) {
	var object map[string]jsontext.Value
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	value, found := object[field]
	switch {
	case !found:
		return nil, fmt.Errorf("no field %q", field)
	case value.Kind() == jsontext.KindString:
		return jsontext.AppendUnquote(nil, value)
	case value.Kind() == jsontext.KindNumber:
		return value, nil
	}
	return nil, fmt.Errorf("field %q is neither a string nor a number", field)
}

// settle waits for the acknowledgements of what was sent, even when the command
// was interrupted, and prints the result.
func (a *app) settle(producer *client.Producer, acks client.Acks, topic string, out output) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	flushErr := producer.Flush(ctx)
	d := producer.Delivered()
	meanAckMs := float64(d.MeanWait().Microseconds()) / 1000
	err := a.printOne(out, []string{"TOPIC", "SENT", "ACKNOWLEDGED", "FAILED", "ACKS", "MEAN-ACK"}, row{
		cells: []string{topic, fmt.Sprint(d.Sent), fmt.Sprint(d.Acked), fmt.Sprint(d.Failed), acks.String(), fmt.Sprintf("%.1f ms", meanAckMs)},
		value: struct {
			Topic     string  `json:"topic"`
			Sent      int64   `json:"sent"`
			Acked     int64   `json:"acknowledged"`
			Failed    int64   `json:"failed"`
			Acks      string  `json:"acks"`
			MeanAckMs float64 `json:"mean_ack_ms"`
		}{topic, d.Sent, d.Acked, d.Failed, acks.String(), meanAckMs},
	})
	switch {
	case err != nil:
		return err
	case d.Failed > 0:
		return notDelivered(d)
	case flushErr != nil:
		return &fault{code: "E1502", exit: exitUnreachable, what: fmt.Sprintf("%d of %d records were not acknowledged in time: whether they are stored is unknown", d.Sent-d.Acked, d.Sent), fix: "check the broker, then send again"}
	}
	return nil
}

func notDelivered(d client.Delivered) error {
	f := &fault{code: "E1603", exit: exitFailed, err: d.First, fix: "correct the cause, then send the failed ones again"}
	if cause := clientFault(d.First); cause != nil {
		f.exit, f.fix = cause.exit, cause.fix
	}
	if errors.Is(d.First, client.ErrTimedOut) {
		f.code, f.exit = "E1502", exitUnreachable
		f.what = fmt.Sprintf("%d of %d records were not acknowledged in time: whether they are stored is unknown", d.Failed, d.Sent)
		f.fix = "look into the broker's log: it may be away, or refuse because its disk is full; then send again"
		return f
	}
	f.what = fmt.Sprintf("%d of %d records were refused, the first because: %s", d.Failed, d.Sent, d.First)
	return f
}
