//go:build synctests

package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/record"
)

// all is every committed record of a topic, per partition.
func (w *world) all(topic string) map[int32][]record.Record {
	out := make(map[int32][]record.Record)
	for tp, span := range w.spans(topic) {
		w.read(tp, span.Start, span.Stable, func(c *client.Columns) {
			for i := range c.Offsets {
				out[int32(tp.Partition)] = append(out[int32(tp.Partition)], record.Record{
					TopicPartition: tp, Offset: c.Offsets[i], Key: slices.Clone(c.Keys[i]), Value: slices.Clone(c.Values[i]),
				})
			}
		})
	}
	return out
}

// spans are what a read_committed reader can see of a topic.
func (w *world) spans(topic string) map[record.TopicPartition]client.Span {
	w.t.Helper()
	spans, err := w.admin.Spans(context.Background(), record.Topic(topic))
	if err != nil {
		w.t.Fatal(err)
	}
	return spans
}

// check holds everything that was committed against a naive single-threaded
// model of the input, and returns each difference.
func (w *world) check() []string {
	var wrong []string
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	bad := make(map[string]int)
	for _, events := range w.sent {
		for _, e := range events {
			if strings.HasPrefix(e.value, poison) {
				bad[e.value]++
			}
		}
	}
	for _, records := range w.all("in-dlq") {
		for _, r := range records {
			bad[string(r.Value)]--
		}
	}
	for value, n := range bad {
		if n != 0 {
			note("the bad record %q is %d times too few among the dead letters", value, n)
		}
	}
	if w.plan.Subs[0].Stores != nil {
		w.checkFolds(note)
	} else {
		w.checkCounts(note)
	}
	return wrong
}

// checkFolds: each output of a key is the fold of a prefix of its records, the
// prefixes grow, and the last one is all of them.
func (w *world) checkFolds(note func(string, ...any)) {
	want := make(map[string][]fold) // per key, after each record
	for _, events := range w.sent {
		for _, e := range events {
			if strings.HasPrefix(e.value, poison) {
				continue
			}
			var before fold
			if n := len(want[e.key]); n > 0 {
				before = want[e.key][n-1]
			}
			want[e.key] = append(want[e.key], before.add([]byte(e.value)))
		}
	}
	reached := make(map[string]uint64)
	for _, records := range w.all("out") {
		for _, r := range records {
			key, got := string(r.Key), decodeFold(r.Value)
			folds := want[key]
			switch {
			case got.n == 0 || got.n > uint64(len(folds)):
				note("key %s: an output says %d records, there are %d", key, got.n, len(folds))
			case folds[got.n-1] != got:
				note("key %s: the output of %d records is not the fold of the first %d", key, got.n, got.n)
			case got.n <= reached[key]:
				note("key %s: an output of %d records after one of %d", key, got.n, reached[key])
			}
			reached[key] = got.n
		}
	}
	for key, folds := range want {
		if reached[key] != uint64(len(folds)) {
			note("key %s: the last output has %d of %d records", key, reached[key], len(folds))
		}
	}
}

// checkCounts: the outputs of a value grow strictly, and the last is its count.
func (w *world) checkCounts(note func(string, ...any)) {
	want := make(map[string]uint64)
	for _, events := range w.sent {
		for _, e := range events {
			if !strings.HasPrefix(e.value, poison) {
				want[e.value]++
			}
		}
	}
	reached := make(map[string]uint64)
	for _, records := range w.all("out") {
		for _, r := range records {
			value, got := string(r.Key), binary.BigEndian.Uint64(r.Value)
			if got <= reached[value] || got > want[value] {
				note("value %s: an output of %d after one of %d, of %d", value, got, reached[value], want[value])
			}
			reached[value] = got
		}
	}
	for value, n := range want {
		if reached[value] != n {
			note("value %s: the last output is %d of %d", value, reached[value], n)
		}
	}
}

// checkDisks: whatever is on a disk is what the changelog says up to the
// position beside it, and no record further.
func (w *world) checkDisks() []string {
	var wrong []string
	for _, n := range w.instances {
		disk := n.disk
		for _, sub := range w.plan.Subs {
			for _, spec := range sub.Stores {
				for _, difference := range w.checkDisk(disk, spec.Name, spec.Changelog) {
					wrong = append(wrong, n.name+": "+difference)
				}
			}
		}
	}
	return wrong
}

func (w *world) checkDisk(disk vfs.FS, name string, changelog record.Topic) (wrong []string) {
	db, err := store.Open("state", store.Options{FS: disk})
	if err != nil {
		return []string{err.Error()}
	}
	defer func() { _ = db.Close() }()
	for tp, span := range w.spans(string(changelog)) {
		part, err := db.Part(name, tp.Partition)
		if err != nil {
			return []string{err.Error()}
		}
		at, _, err := part.Position()
		if err != nil {
			return []string{err.Error()}
		}
		got := make(map[string]string)
		err = part.Scan(nil, nil, func(key, value []byte) bool {
			got[string(key)] = string(value)
			return true
		})
		if err != nil {
			return []string{err.Error()}
		}
		want := make(map[string]string)
		commit := ""
		w.read(tp, 0, min(at.Next, span.Stable), func(c *client.Columns) {
			for i, key := range c.Keys {
				if isCommitKey(key) {
					commit = string(c.Values[i])
				} else {
					want[string(key)] = string(c.Values[i])
				}
			}
		})
		if !maps.Equal(got, want) || commit != string(at.Commit) {
			wrong = append(wrong, fmt.Sprintf("%s partition %d at position %d differs from its changelog", name, tp.Partition, at.Next))
		}
	}
	return wrong
}
