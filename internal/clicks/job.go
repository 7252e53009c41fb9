package clicks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/client"
	"millrace/record"
)

// Options tell a job where to read and how much it may keep.
type Options struct {
	// Client reaches the cluster that holds Topic.
	Client client.Config
	// MemoryBytes bounds what the job keeps per user and page. At the bound,
	// names that are known are counted on; clicks of new names go into the
	// totals and are reported as untracked. Default 256 MiB.
	MemoryBytes int64
	// Registerer gets the job's metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 256 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Job counts the clicks of one cluster. Its answers may be read at any time
// and from any goroutine, before, during and after Run.
type Job struct {
	options  Options
	results  *results
	progress atomic.Pointer[Progress]
	warnOnce atomic.Bool // that the memory budget is used up
}

// Progress says how far a job is on its way to the end that the log had when
// counting began.
type Progress struct {
	Ready   bool
	Counted int64 // offsets passed of those that were there at the start
	Of      int64 // offsets that were there at the start
	// Waiting is why counting has not begun, or has paused; empty when it runs.
	Waiting string
}

// New makes a job; Run starts it.
func New(o Options) *Job {
	o = o.withDefaults()
	j := &Job{options: o, results: newResults(o.MemoryBytes, o.Now())}
	j.progress.Store(&Progress{Waiting: "not started"})
	newMetrics(o.Registerer, j)
	return j
}

// Totals, User, TopUsers, TopPages and DeadLetters answer from what is counted
// so far, each with the position that it reflects.
func (j *Job) Totals() Totals { return j.results.totals() }

// User is the count of one user. known is false when no click of the user was
// counted; then complete tells whether that is certain, or whether the user may
// be among those that no longer fitted into memory.
func (j *Job) User(id string) (clicks int64, known, complete bool, asOf AsOf) {
	return j.results.user(id)
}

// TopUsers are the n users with the most clicks, ties by name; n is at most MaxTop.
func (j *Job) TopUsers(n int) ([]Count, AsOf) { return j.results.topUsers(n) }

// TopPages are the n pages with the most clicks, ties by name; n is at most MaxTop.
func (j *Job) TopPages(n int) ([]Count, AsOf) { return j.results.topPages(n) }

// DeadLetters are the n newest malformed events, newest first, and the number
// of all of them by reason; n is at most MaxDeadLetters.
func (j *Job) DeadLetters(n int) ([]DeadLetter, map[Reason]int64, AsOf) {
	return j.results.deadLetters(n)
}

// Progress is how far the job has come.
func (j *Job) Progress() Progress { return *j.progress.Load() }

// Run counts until ctx ends and then returns nil. A cluster that cannot be
// reached is waited for. When the log is not the one that was counted, because
// the topic was deleted or lost its end, everything is counted again.
func (j *Job) Run(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		began := j.options.Now()
		err := j.count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if _, unusable := errors.AsType[*settingsError](err); unusable {
			return err
		}
		j.options.Logger.Warn("counting again from the start of the log", "job", JobName, "err", err)
		j.waiting(err)
		j.results.reset(j.options.Now())
		if j.options.Now().Sub(began) > longestWait {
			wait = firstWait
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// Pauses between attempts to reach the cluster.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 3 * time.Second
)

// settingsError says that no attempt can succeed.
type settingsError struct{ err error }

func (e *settingsError) Error() string { return e.err.Error() }
func (e *settingsError) Unwrap() error { return e.err }

// count reads the topic from its start until something ends that.
func (j *Job) count(ctx context.Context) error {
	goal, err := j.ends(ctx)
	if err != nil {
		return err
	}
	consumer, err := client.NewConsumer(j.options.Client, client.Subscription{Topics: []record.Topic{Topic}})
	if err != nil {
		return &settingsError{err}
	}
	defer consumer.Close()
	counter := counter{job: j}
	for {
		j.measure(goal)
		batches, err := consumer.Poll(ctx)
		for i := range batches {
			if err := counter.take(&batches[i]); err != nil {
				return err
			}
		}
		if damage, ok := errors.AsType[client.CorruptError](err); ok {
			err = j.passDamage(ctx, consumer, damage.TopicPartition)
		}
		if err != nil {
			return err
		}
	}
}

// passDamage goes on behind records that the broker cannot serve, and lists
// them. Other errors that came with this one come again with the next poll.
func (j *Job) passDamage(ctx context.Context, consumer *client.Consumer, tp record.TopicPartition) error {
	partitions, err := j.ends(ctx)
	if err != nil {
		return err
	}
	from, end := j.results.position(tp.Partition), record.Offset(0)
	for _, p := range partitions {
		if p.Partition == tp.Partition {
			from, end = max(from, p.Start), p.End
		}
	}
	if from >= end {
		return nil // passed already: the error was on its way before
	}
	next, err := consumer.PassDamage(ctx, tp, from, end)
	if err != nil {
		return err
	}
	letter := DeadLetter{
		TopicPartition: tp, Offset: from, Events: int64(next - from), Timestamp: record.NoTimestamp, Reason: Damaged,
		Detail: fmt.Sprintf("offsets %d to %d cannot be read: what the broker has stored there is damaged", from, next-1),
	}
	j.options.Logger.Error("damaged records are not counted", "job", JobName, "topic", tp.Topic, "partition", tp.Partition, "from", from, "to", next-1)
	j.results.apply(&chunk{partition: tp.Partition, next: next, dead: []DeadLetter{letter}}, j.options.Now())
	return nil
}

// ends asks for the log's start and end per partition: where readiness is
// reached. A topic that does not exist yet has none.
func (j *Job) ends(ctx context.Context) ([]client.PartitionInfo, error) {
	admin, err := client.NewAdmin(j.options.Client)
	if err != nil {
		return nil, &settingsError{err}
	}
	defer admin.Close()
	partitions, err := admin.Offsets(ctx, Topic)
	if _, unknown := errors.AsType[client.UnknownTopicError](err); unknown {
		return nil, nil
	}
	return partitions, err
}

// measure publishes the progress towards goal.
func (j *Job) measure(goal []client.PartitionInfo) {
	if j.Progress().Ready {
		return
	}
	p := &Progress{}
	for _, partition := range goal {
		passed := min(j.results.position(partition.Partition), partition.End) - partition.Start
		p.Counted += int64(max(0, passed))
		p.Of += int64(partition.End - partition.Start)
	}
	p.Ready = p.Counted >= p.Of
	j.progress.Store(p)
	if p.Ready {
		j.options.Logger.Info("click job is ready", "job", JobName, "counted", p.Counted)
	}
}

func (j *Job) waiting(err error) {
	j.progress.Store(&Progress{Waiting: err.Error()})
}

// counter turns batches into chunks; it belongs to one run of count.
type counter struct {
	job     *Job
	decoder Decoder
	chunk   chunk
}

// chunkRecords bounds how long results are locked for writing: about 0.2 ms.
const chunkRecords = 1000

func (c *counter) take(b *client.Batch) error {
	if position := c.job.results.position(b.Partition); b.Next <= position && len(b.Records) > 0 {
		return fmt.Errorf("%s went back from offset %d to %d: the topic is a new one", b.TopicPartition, position, b.Records[0].Offset)
	}
	records := b.Records
	for len(records) > chunkRecords {
		part := records[:chunkRecords]
		records = records[chunkRecords:]
		c.count(b.Partition, part, part[chunkRecords-1].Offset+1)
	}
	c.count(b.Partition, records, b.Next)
	c.job.warnWhenFull()
	return nil
}

func (c *counter) count(p record.Partition, records []record.Record, next record.Offset) {
	c.chunk = chunk{partition: p, next: next, clicks: c.chunk.clicks[:0], dead: c.chunk.dead[:0]}
	for i := range records {
		click, err := c.decoder.Decode(records[i].Value)
		if err != nil {
			c.chunk.dead = append(c.chunk.dead, deadLetterOf(&records[i], err))
			continue
		}
		c.chunk.clicks = append(c.chunk.clicks, click)
	}
	c.job.results.apply(&c.chunk, c.job.options.Now())
}

func deadLetterOf(r *record.Record, err error) DeadLetter {
	letter := DeadLetter{TopicPartition: r.TopicPartition, Offset: r.Offset, Events: 1, Timestamp: r.Timestamp, Reason: InvalidJSON, Detail: err.Error()}
	if fault, ok := errors.AsType[*MalformedError](err); ok {
		letter.Reason, letter.Detail = fault.Reason, fault.Detail
	}
	return letter
}

func (j *Job) warnWhenFull() {
	t := j.results.totals()
	if t.UntrackedUserClicks+t.UntrackedPageClicks > 0 && j.warnOnce.CompareAndSwap(false, true) {
		j.options.Logger.Warn("memory budget is used up: clicks of new users and pages go into the totals only",
			"job", JobName, "memory_bytes", j.options.MemoryBytes, "users", t.Users, "pages", t.Pages)
	}
}
