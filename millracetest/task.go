package millracetest

import (
	"bytes"
	"maps"
	"slices"

	"millrace/internal/topology"
	"millrace/record"
)

// task is one task of the job with its place in its inputs and its changelog.
type task struct {
	sub        *topology.Sub
	p          record.Partition
	step       topology.Task
	next       []int // per source: the message to be processed next
	committed  []int // per source, as of the last commit
	changelogs []map[string][]byte
	progress   []byte
	changes    []func() // of the open transaction, to be applied by its commit
}

func newTask(d *Driver, sub *topology.Sub, p record.Partition) *task {
	d.t.Helper()
	t := &task{sub: sub, p: p, next: make([]int, len(sub.Sources)), committed: make([]int, len(sub.Sources)),
		changelogs: make([]map[string][]byte, len(sub.Stores))}
	for i := range t.changelogs {
		t.changelogs[i] = make(map[string][]byte)
	}
	t.restart(d)
	return t
}

// restart makes the step anew from what was committed.
func (t *task) restart(d *Driver) {
	d.t.Helper()
	cfg := topology.TaskConfig{Partition: t.p, Now: d.now}
	for _, s := range t.sub.Sources {
		cfg.Partitions = append(cfg.Partitions, d.partitions)
		upstream := int32(0)
		if s.Repartition() {
			upstream = d.partitions
		}
		cfg.Upstream = append(cfg.Upstream, upstream)
	}
	step, err := t.sub.NewTask(cfg)
	if err != nil {
		d.t.Fatalf("millracetest: start %v: %v", t, err)
	}
	for i, table := range step.Tables() {
		for _, key := range slices.Sorted(maps.Keys(t.changelogs[i])) {
			if err := table.Restore([]byte(key), t.changelogs[i][key]); err != nil {
				d.t.Fatalf("millracetest: restore %v: %v", t, err)
			}
		}
	}
	if t.progress != nil {
		if err := step.LoadProgress(t.progress); err != nil {
			d.t.Fatalf("millracetest: restore %v: %v", t, err)
		}
	}
	t.step, t.changes = step, nil
	t.rewind()
}

func (t *task) rewind() { copy(t.next, t.committed) }

// process takes what is new in each source.
func (t *task) process(d *Driver) (some bool) {
	d.t.Helper()
	for i, s := range t.sub.Sources {
		messages := d.topic(s.Topic).partitions[t.p][t.next[i]:]
		b := topology.Batch{Source: i, Partition: t.p, AtEnd: true}
		for j, m := range messages {
			b.Offsets = append(b.Offsets, record.Offset(t.next[i]+j))
			b.Timestamps = append(b.Timestamps, m.at)
			b.Keys = append(b.Keys, m.key)
			b.Values = append(b.Values, m.value)
			b.Headers = append(b.Headers, m.headers)
		}
		if err := t.step.Process(&b, output{d, t}); err != nil {
			d.t.Fatalf("millracetest: %v: %v", t, err)
		}
		t.next[i] += len(messages)
		some = some || len(messages) > 0
	}
	return some
}

// prepare collects all that the commit will make visible.
func (t *task) prepare(d *Driver) {
	d.t.Helper()
	t.step.Tick(d.now)
	if err := t.step.Prepare(output{d, t}); err != nil {
		d.t.Fatalf("millracetest: %v: %v", t, err)
	}
	for i, table := range t.step.Tables() {
		err := table.Changes(func(key, value []byte) {
			t.changes = append(t.changes, func() {
				if value == nil {
					delete(t.changelogs[i], string(key))
				} else {
					t.changelogs[i][string(key)] = bytes.Clone(value)
				}
			})
		})
		if err != nil {
			d.t.Fatalf("millracetest: %v: %v", t, err)
		}
	}
	progress := t.step.AppendProgress([]byte{})
	t.changes = append(t.changes, func() { t.progress = progress })
}

func (t *task) commit() {
	for _, change := range t.changes {
		change()
	}
	t.changes = nil
	t.step.Commit()
	copy(t.committed, t.next)
}

func (t *task) committedOffsets() map[record.TopicPartition]record.Offset {
	offsets := make(map[record.TopicPartition]record.Offset)
	for i, s := range t.sub.Sources {
		if !s.Repartition() {
			offsets[record.TopicPartition{Topic: s.Topic, Partition: t.p}] = record.Offset(t.committed[i])
		}
	}
	return offsets
}

// output takes what a task sends into the driver's open transaction.
type output struct {
	d *Driver
	t *task
}

func (o output) Send(sink int, to record.Partition, key, value []byte, at record.Timestamp, headers []record.Header) {
	t := o.d.topic(o.t.sub.Sinks[sink].Topic)
	m := message{key: key, value: value, at: at, headers: headers}
	switch {
	case to == topology.AllPartitions:
		for p := range o.d.partitions {
			o.d.open = append(o.d.open, sent{t, record.Partition(p), m})
		}
		return
	case to == topology.ByKey && key != nil:
		to = record.PartitionFor(key, o.d.partitions)
	case to == topology.ByKey:
		to = o.t.p
	}
	o.d.open = append(o.d.open, sent{t, to, m})
}
