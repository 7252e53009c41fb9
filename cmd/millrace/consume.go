package main

import (
	"bufio"
	"context"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/internal/where"
	"millrace/record"
)

const consumeHelp = `Print the records of a topic, partition by partition in offset order, and go on as
new ones arrive, until Ctrl-C, until -n records were printed, or with -e until the
end that the topic has now.

With --group the position is shared with the other members of that consumer group
and committed as records are printed; --from then holds only where the group has
committed nothing yet.

-o value prints the bare values, one per line.

--where prints only the records that an expression wants. Paths begin with topic,
partition, offset, ts, key, value or headers, and go on into JSON with .name,
["any name"] or [0]; there are == != < <= > >= && || ! and parentheses, and the
functions has(path), contains(text, part), prefix(text, part), suffix(text, part).
-n counts what is printed.`

const consumeExample = `  millrace consume click_events                   # from the beginning, then live
  millrace consume click_events --from end         # only what comes now
  millrace consume click_events --from -1h -n 100  # at most 100 of the last hour
  millrace consume click_events -e -o value | sort | uniq -c
  millrace consume click_events --partition 2 --from 17 -n 1
  millrace consume click_events --where 'value.user_id == "ana" && contains(value.page, "/shop")'
  millrace consume click_events-dlq -e --where 'headers["millrace.reason"] == "decode"'`

const asValue = "value"

type consumeFlags struct {
	from       string
	count      int64
	group      string
	isolation  string
	partitions []int32
	exitAtEnd  bool
	where      string
	cluster    cluster
	output     output
}

func (a *app) consumeCommand() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:     "consume TOPIC",
		Short:   "Print the records of a topic",
		Long:    consumeHelp,
		Example: consumeExample,
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.consume(cmd.Context(), record.Topic(args[0]), f)
		},
		ValidArgsFunction: a.completeTopics(&f.cluster),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "beginning", positionHelp)
	flags.Int64VarP(&f.count, "count", "n", 0, "stop after so many records (default: go on)")
	flags.StringVar(&f.group, "group", "", "consume as a member of this group and commit")
	flags.StringVar(&f.isolation, "isolation", "read_committed", "read_committed or read_uncommitted")
	flags.Int32SliceVar(&f.partitions, "partition", nil, "only these partitions")
	flags.BoolVarP(&f.exitAtEnd, "exit-at-end", "e", false, "stop at the end that the topic has now")
	excludes(flags, "group", "partition", "exit-at-end")
	flags.StringVar(&f.where, "where", "", "only records that this expression wants, such as 'value.user_id == \"ana\"'")
	complete(cmd, "isolation", "read_committed", "read_uncommitted")
	complete(cmd, "from", "beginning", "end")
	f.cluster.register(cmd)
	f.output.register(cmd)
	cmd.Flags().Lookup("output").Usage = "table, json, jsonl or value (default: table on a terminal, jsonl when piped)"
	complete(cmd, "output", asTable, asJSON, asJSONL, asValue)
	return cmd
}

func (f *consumeFlags) config() (client.Config, error) {
	config, err := f.cluster.config()
	if err != nil {
		return config, err
	}
	if f.group != "" {
		config.Group = f.group
	}
	if err := config.Set("isolation.level", f.isolation); err != nil {
		return config, usage("use --isolation read_committed or read_uncommitted", "%s", err)
	}
	switch {
	case f.group != "" && f.exitAtEnd:
		return config, usage("use -n instead: the end of a group's share moves with its members", "--exit-at-end does not go with --group")
	case f.group != "" && len(f.partitions) > 0:
		return config, usage("leave one away", "--partition does not go with --group, which assigns partitions by itself")
	case f.count < 0:
		return config, usage("use -n 1 or more", "-n is %d", f.count)
	}
	return config, nil
}

func (a *app) consume(ctx context.Context, topic record.Topic, f consumeFlags) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	from, err := parsePosition(f.from, time.Now())
	if err != nil {
		return err
	}
	wanted, err := f.filter()
	if err != nil {
		return err
	}
	printer, err := a.recordPrinter(f.output)
	if err != nil {
		return err
	}
	reading := client.Subscription{Topics: []record.Topic{topic}, From: from}
	for _, p := range f.partitions {
		reading.Partitions = append(reading.Partitions, record.Partition(p))
	}
	ends, err := stopsAt(ctx, config, reading)
	if err != nil {
		return err
	}
	if !f.exitAtEnd {
		ends = nil
	}
	consumer, err := client.NewConsumer(config, reading)
	if err != nil {
		return err
	}
	defer consumer.Close()
	r := reader{consumer: consumer, printer: printer, wants: wanted, left: f.count, ends: ends, group: config.Group != ""}
	return errors.Join(r.run(ctx), printer.close())
}

// filter is what --where wants; without it, every record.
func (f *consumeFlags) filter() (func(*record.Record) bool, error) {
	if f.where == "" {
		return func(*record.Record) bool { return true }, nil
	}
	e, err := where.Parse(f.where)
	if err != nil {
		return nil, usage("millrace consume --help shows what it may say; in a shell, put it in single quotes", "--where %s", err)
	}
	return e.Match, nil
}

// stopsAt checks that the topic is there and gives, for each partition that has
// something to read, the offset behind its last record.
func stopsAt(ctx context.Context, config client.Config, s client.Subscription) (map[record.Partition]record.Offset, error) {
	admin, err := client.NewAdmin(config)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if err := admin.Check(ctx); err != nil {
		return nil, err
	}
	ranges, err := admin.Ranges(ctx, s.Topics[0], s.From)
	if err != nil {
		return nil, err
	}
	ends := make(map[record.Partition]record.Offset)
	for _, r := range ranges {
		if r.From < r.End && s.Covers(r.Partition) {
			ends[r.Partition] = r.End
		}
	}
	for _, p := range s.Partitions {
		if int(p) < 0 || int(p) >= len(ranges) {
			return nil, &fault{code: "E1206", exit: exitNotFound, what: fmt.Sprintf("topic %q has no partition %d: it has %d", s.Topics[0], p, len(ranges)), fix: "millrace topics describe " + string(s.Topics[0])}
		}
	}
	return ends, nil
}

// reader prints what a consumer hands over until enough was printed.
type reader struct {
	consumer *client.Consumer
	printer  *recordPrinter
	wants    func(*record.Record) bool
	left     int64 // 0 is no limit
	ends     map[record.Partition]record.Offset
	group    bool
}

func (r *reader) run(ctx context.Context) error {
	if r.ends != nil && len(r.ends) == 0 {
		return nil
	}
	for {
		batches, err := r.consumer.PollUpTo(ctx, r.wanted())
		for i := range batches {
			done, printErr := r.print(&batches[i])
			if done || printErr != nil {
				return errors.Join(printErr, r.printer.flush(), r.commit())
			}
		}
		if flushErr := r.printer.flush(); flushErr != nil {
			return flushErr
		}
		switch {
		case ctx.Err() != nil:
			return r.commit()
		case err != nil:
			return readFault(err)
		}
		if err := r.commit(); err != nil {
			return err
		}
	}
}

// wanted is how many records may be taken, so that a group's commit covers none
// that was not printed.
func (r *reader) wanted() int {
	if r.left > 0 {
		return int(min(r.left, math.MaxInt32))
	}
	return math.MaxInt32
}

// print prints a batch and reports whether that was the last one asked for.
func (r *reader) print(b *client.Batch) (done bool, err error) {
	for i := range b.Records {
		if end, bounded := r.ends[b.Partition]; r.ends != nil && (!bounded || b.Records[i].Offset >= end) {
			break
		}
		if !r.wants(&b.Records[i]) {
			continue
		}
		if err := r.printer.print(&b.Records[i]); err != nil {
			return false, err
		}
		if r.left--; r.left == 0 {
			return true, nil
		}
	}
	if r.ends == nil {
		return false, nil
	}
	if b.Next >= r.ends[b.Partition] {
		delete(r.ends, b.Partition)
	}
	return len(r.ends) == 0, nil
}

// commit stores the group's position: everything taken so far was printed.
func (r *reader) commit() error {
	if !r.group {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return r.consumer.Commit(ctx)
}

func readFault(err error) error {
	if corrupt, ok := errors.AsType[client.CorruptError](err); ok {
		return &fault{
			code: "E1604", exit: exitFailed, err: err,
			what: fmt.Sprintf("%s: the broker reports damaged records there and will not serve them", corrupt.TopicPartition),
			fix:  fmt.Sprintf("the broker's log names the offsets; go on behind them: millrace consume %s --partition %d --from OFFSET", corrupt.Topic, corrupt.Partition),
		}
	}
	return err
}

// recordPrinter writes records in one of the output formats.
type recordPrinter struct {
	out    *bufio.Writer
	format string
	dim    string
	plain  string
	some   bool
}

func (a *app) recordPrinter(o output) (*recordPrinter, error) {
	p := &recordPrinter{out: bufio.NewWriterSize(a.stdout, 64<<10), format: asValue}
	if o.format == asValue {
		return p, nil
	}
	var err error
	p.format, err = o.resolve(a.stdout)
	p.dim, p.plain = a.colour(a.stdout, "\x1b[2m"), a.colour(a.stdout, "\x1b[0m")
	return p, err
}

func (p *recordPrinter) print(r *record.Record) error {
	defer func() { p.some = true }()
	switch p.format {
	case asValue:
		_, _ = p.out.Write(r.Value) // a bufio.Writer keeps its first error
		return p.out.WriteByte('\n')
	case asTable:
		_, err := fmt.Fprintf(p.out, "%s%d:%-8d %s %s%s %s\n", p.dim, r.Partition, r.Offset, r.Timestamp.Time().Format(timestampLayout),
			printable(keyText(r.Key)), p.plain, printable(string(r.Value)))
		return err
	case asJSON:
		separator := "[\n"
		if p.some {
			separator = ",\n"
		}
		return p.json(separator, r, "")
	default:
		return p.json("", r, "\n")
	}
}

const timestampLayout = where.TimestampLayout

func keyText(key []byte) string {
	if key == nil {
		return "-"
	}
	return string(key)
}

func (p *recordPrinter) json(before string, r *record.Record, after string) error {
	_, _ = p.out.WriteString(before) // a bufio.Writer keeps its first error
	line := &strings.Builder{}
	if err := printJSON(line, recordJSON(r)); err != nil {
		return err
	}
	_, _ = p.out.WriteString(strings.TrimSuffix(line.String(), "\n"))
	_, err := p.out.WriteString(after)
	return err
}

func (p *recordPrinter) flush() error { return p.out.Flush() }

// close ends a JSON array and writes what is left.
func (p *recordPrinter) close() error {
	if p.format == asJSON {
		if !p.some {
			_, _ = p.out.WriteString("[")
		}
		_, _ = p.out.WriteString("\n]\n")
	}
	return p.out.Flush()
}

// recordLine is a record as JSON. Keys and values that are not text are given
// in base64; values that are JSON are given as such.
type recordLine struct {
	Topic       record.Topic      `json:"topic"`
	Partition   record.Partition  `json:"partition"`
	Offset      record.Offset     `json:"offset"`
	Timestamp   string            `json:"ts"`
	Key         *string           `json:"key"`
	KeyBase64   []byte            `json:"key_base64,omitempty"`
	Value       jsontext.Value    `json:"value"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func recordJSON(r *record.Record) recordLine {
	line := recordLine{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Timestamp: r.Timestamp.Time().Format(timestampLayout),
		Value:     jsontext.Value("null"),
	}
	if r.Key != nil {
		if text := string(r.Key); utf8.ValidString(text) {
			line.Key = &text
		} else {
			line.KeyBase64 = r.Key
		}
	}
	switch {
	case r.Value == nil:
	case !utf8.Valid(r.Value):
		line.ValueBase64 = r.Value
	case jsontext.Value(r.Value).IsValid():
		line.Value = r.Value
	default:
		line.Value, _ = jsontext.AppendQuote(nil, r.Value) // valid UTF-8: it cannot fail
	}
	for _, h := range r.Headers {
		if line.Headers == nil {
			line.Headers = make(map[string]string, len(r.Headers))
		}
		line.Headers[strings.ToValidUTF8(h.Key, "\uFFFD")] = strings.ToValidUTF8(string(h.Value), "\uFFFD")
	}
	return line
}
