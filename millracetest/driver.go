package millracetest

import (
	"fmt"
	"testing"
	"time"

	"millrace"
	"millrace/internal/topology"
	"millrace/record"
)

// DefaultPartitions is how many partitions each topic has: enough that records of
// one key come from several.
const DefaultPartitions = 3

// Start is where a driver's clock stands at first.
var Start = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// Driver runs one job. It is for one goroutine.
type Driver struct {
	t          testing.TB
	topology   *millrace.Topology
	partitions int32
	now        time.Time
	topics     map[record.Topic]*topic
	tasks      []*task
	open       []sent // by the open transaction
}

// Option changes how a job is run.
type Option func(*Driver)

// Partitions is the number of partitions of every topic. Default
// [DefaultPartitions].
func Partitions(n int) Option { return func(d *Driver) { d.partitions = int32(n) } }

// New builds the job and starts its tasks. A fault of the job ends the test.
func New(t testing.TB, app *millrace.App, options ...Option) *Driver {
	t.Helper()
	d := &Driver{t: t, partitions: DefaultPartitions, now: Start, topics: make(map[record.Topic]*topic)}
	for _, o := range options {
		o(d)
	}
	if d.partitions < 1 {
		t.Fatalf("millracetest: %d partitions: use 1 or more", d.partitions)
	}
	built, err := app.Build()
	if err != nil {
		t.Fatalf("millracetest: the job has faults:\n%v", err)
	}
	d.topology = built
	built.Attach(views{d})
	for i := range built.Plan().Subs {
		sub := &built.Plan().Subs[i]
		for p := range d.partitions {
			d.tasks = append(d.tasks, newTask(d, sub, record.Partition(p)))
		}
	}
	return d
}

// Now is the driver's clock.
func (d *Driver) Now() time.Time { return d.now }

// Pipe appends a record to a topic, stamped with the driver's clock, and processes
// it in the open transaction. Without a key (the zero K of a nullable codec)
// records go round the partitions.
func (d *Driver) Pipe[K, V any](to millrace.Topic[K, V], key K, value V) {
	d.t.Helper()
	d.PipeAt(to, key, value, d.now)
}

// PipeAt is Pipe for a record with another timestamp.
func (d *Driver) PipeAt[K, V any](to millrace.Topic[K, V], key K, value V, at time.Time) {
	d.t.Helper()
	keys, values := to.Codecs()
	k, err := keys.Append(nil, key)
	if err != nil {
		d.t.Fatalf("millracetest: encode a key for %s: %v", to.Name(), err)
	}
	v, err := values.Append(nil, value)
	if err != nil {
		d.t.Fatalf("millracetest: encode a value for %s: %v", to.Name(), err)
	}
	d.PipeBytes(to.Name(), k, v, at)
}

// PipeBytes appends a record as bytes, such as one that the job must refuse. An
// empty key is none.
func (d *Driver) PipeBytes(to string, key, value []byte, at time.Time) {
	d.t.Helper()
	t := d.topic(record.Topic(to))
	p := record.Partition(len(t.all)) % record.Partition(d.partitions)
	if len(key) > 0 {
		p = record.PartitionFor(key, d.partitions)
	} else {
		key = nil
	}
	t.append(p, message{key: key, value: value, at: record.TimestampOf(at)})
	d.process()
}

// Advance moves the clock, and lets tasks see it go by.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	const steps = 30 // partitions become idle on the way, and windows final
	end := d.now.Add(by)
	for i := range steps {
		d.now = end.Add(-by * time.Duration(steps-1-i) / steps)
		for _, t := range d.tasks {
			t.step.Tick(d.now)
		}
	}
}

// Commit commits the open transaction, and those that follow from it, until
// nothing is on its way between the parts of the job.
func (d *Driver) Commit() {
	d.t.Helper()
	const most = 100
	for range most {
		if !d.commitOnce() {
			return
		}
	}
	d.t.Fatalf("millracetest: after %d commits the job still sends itself records", most)
}

// commitOnce reports whether the commit has brought tasks new records.
func (d *Driver) commitOnce() bool {
	d.t.Helper()
	for _, t := range d.tasks {
		t.prepare(d)
	}
	for _, t := range d.tasks {
		t.commit()
	}
	for _, s := range d.open {
		s.topic.append(s.to, s.message)
	}
	d.open = nil
	return d.process()
}

// Abort aborts the open transaction: its records are processed again, in the next.
func (d *Driver) Abort() {
	d.t.Helper()
	d.open = nil
	for _, t := range d.tasks {
		t.step.Abort()
		t.rewind()
	}
	d.process()
}

// Crash is a kill -9 before the commit: all tasks are made anew from what was
// committed, and the open transaction's records are processed again.
func (d *Driver) Crash() {
	d.t.Helper()
	d.open = nil
	for _, t := range d.tasks {
		t.restart(d)
	}
	d.process()
}

// process steps every task up to the end of its inputs.
func (d *Driver) process() (some bool) {
	d.t.Helper()
	for _, t := range d.tasks {
		some = t.process(d) || some
	}
	return some
}

func (d *Driver) topic(name record.Topic) *topic {
	t := d.topics[name]
	if t == nil {
		t = &topic{partitions: make([][]message, d.partitions)}
		d.topics[name] = t
	}
	return t
}

// topic is what was committed to a topic.
type topic struct {
	partitions [][]message
	all        []message // in the order of commits
	read       int       // of all, by [Driver.Read]
}

func (t *topic) append(p record.Partition, m message) {
	t.partitions[p] = append(t.partitions[p], m)
	t.all = append(t.all, m)
}

type message struct {
	key, value []byte
	at         record.Timestamp
	headers    []record.Header
}

// sent is a message of the open transaction.
type sent struct {
	topic *topic
	to    record.Partition
	message
}

// read calls f with the wanted tasks that have a store.
func (d *Driver) read(store string, want func(*task) bool, f func(topology.Reading) error) error {
	for _, t := range d.tasks {
		for _, s := range t.sub.Stores {
			if s.Name != store || !want(t) {
				continue
			}
			r := topology.Reading{Sub: t.sub.ID, Partition: t.p, Tasks: int(d.partitions), Task: t.step, Offsets: t.committedOffsets(), CommittedAt: d.now}
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *task) String() string { return fmt.Sprintf("task %d of sub-topology %d", t.p, t.sub.ID) }
