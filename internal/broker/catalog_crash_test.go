package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"testing"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// topicState is what must survive of a topic: per partition the end offset, and
// one setting.
type topicState struct {
	ends      []record.Offset
	retention string
}

type catalogState map[record.Topic]topicState

// catalogStep changes the catalog, and the model in the same way.
type catalogStep struct {
	name string
	run  func(*log.Store, *catalog) error
	want func(catalogState)
}

func createStep(partitions int, names ...record.Topic) catalogStep {
	return catalogStep{fmt.Sprint("create ", names),
		func(_ *log.Store, c *catalog) error {
			var specs []topicSpec
			for _, name := range names {
				specs = append(specs, topicSpec{name: name, partitions: partitions})
			}
			return firstOf(c.create(specs))
		},
		func(s catalogState) {
			for _, name := range names {
				s[name] = topicState{ends: make([]record.Offset, partitions)}
			}
		}}
}

func removeStep(names ...string) catalogStep {
	return catalogStep{fmt.Sprint("remove ", names),
		func(_ *log.Store, c *catalog) error {
			var refs []topicRef
			for _, name := range names {
				refs = append(refs, topicRef{name: name})
			}
			_, errs := c.remove(refs)
			return firstOf(errs)
		},
		func(s catalogState) {
			for _, name := range names {
				delete(s, record.Topic(name))
			}
		}}
}

func growStep(name string, count int) catalogStep {
	return catalogStep{fmt.Sprint("grow ", name),
		func(_ *log.Store, c *catalog) error { return c.addPartitions(name, count, false) },
		func(s catalogState) {
			t := s[record.Topic(name)]
			t.ends = append(append([]record.Offset(nil), t.ends...), make([]record.Offset, count-len(t.ends))...)
			s[record.Topic(name)] = t
		}}
}

func configureStep(name, retention string) catalogStep {
	return catalogStep{fmt.Sprint("configure ", name),
		func(_ *log.Store, c *catalog) error {
			return c.configure(name, func(settings map[string]string) error { settings["retention.ms"] = retention; return nil }, false)
		},
		func(s catalogState) {
			t := s[record.Topic(name)]
			t.retention = retention
			s[record.Topic(name)] = t
		}}
}

// appendStep stores that many records and waits for the acknowledgement.
func appendStep(name record.Topic, partition, count int) catalogStep {
	return catalogStep{fmt.Sprint("append to ", name, partition),
		func(store *log.Store, _ *catalog) error {
			l, ok := store.Log(record.TopicPartition{Topic: name, Partition: record.Partition(partition)})
			if !ok {
				return fmt.Errorf("no log")
			}
			b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
			for range count {
				b.Append(1_700_000_000_000, nil, []byte("x"), nil)
			}
			raw, err := b.Build()
			if err != nil {
				return err
			}
			a, err := l.Append(raw, log.AppendOptions{Sync: true})
			if err != nil {
				return err
			}
			return a.Wait(context.Background())
		},
		func(s catalogState) {
			t := s[name]
			t.ends = append([]record.Offset(nil), t.ends...)
			t.ends[partition] += record.Offset(count)
			s[name] = t
		}}
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// R19: whatever the catalog has answered survives a power cut after any
// operation, with the acknowledged records; what was in progress happened or did
// not, topic by topic; and nothing that was deleted comes back.
func TestCatalogSurvivesPowerCuts(t *testing.T) {
	var many []record.Topic
	var manyNames []string
	for i := range 10 { // enough for one sync of the whole file system
		many = append(many, record.Topic(fmt.Sprintf("m%d", i)))
		manyNames = append(manyNames, fmt.Sprintf("m%d", i))
	}
	steps := []catalogStep{
		createStep(2, "a"), appendStep("a", 0, 7), createStep(1, "b", "c"), configureStep("a", "500000"), growStep("a", 4),
		appendStep("a", 3, 2), removeStep("b"), removeStep("a"), createStep(1, "a"), appendStep("a", 0, 1),
		createStep(1, many...), appendStep("m3", 0, 1), removeStep(manyNames...), createStep(1, "m3"),
	}
	states := []catalogState{{}}
	for _, step := range steps {
		next := maps.Clone(states[len(states)-1])
		step.want(next)
		states = append(states, next)
	}

	fsys := crashfs.New()
	store, c := openCatalogOn(t, fsys)
	var mu sync.Mutex
	done, checked := 0, 0
	fsys.OnOp(nil, func(op crashfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		before, after := states[done], states[min(done+1, len(steps))]
		for _, policy := range crashfs.Policies() {
			checked++
			image := fsys.Crash(policy, uint64(op.N))
			if got := reopened(t, image); !between(got, before, after) {
				t.Errorf("power cut (%v) after %v, %d steps done:\ngot  %v\nfrom %v\nto   %v", policy, op, done, got, before, after)
			}
		}
	})
	for i, step := range steps {
		if err := step.run(store, c); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		mu.Lock()
		done = i + 1
		mu.Unlock()
	}
	fsys.OnOp(nil, nil)
	if err := store.Close(); err != nil { // waits for the last removal, which may still be looked at
		t.Error(err)
	}
	if checked < 500 {
		t.Errorf("only %d crash states were checked", checked)
	}
	t.Logf("%d crash states", checked)
}

func openCatalogOn(t *testing.T, fsys *crashfs.FS) (*log.Store, *catalog) {
	t.Helper()
	store, err := log.Open(fsys, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := openCatalog(store, 1000, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return store, c
}

// reopened is what a start finds on the image.
func reopened(t *testing.T, image *crashfs.FS) catalogState {
	store, c := openCatalogOn(t, image)
	got := catalogState{}
	for _, topic := range c.topics.all() {
		state := topicState{retention: topic.settings()["retention.ms"]}
		for _, l := range topic.logs() {
			state.ends = append(state.ends, l.NextOffset())
		}
		got[topic.name] = state
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	return got
}

// between reports whether every topic is as before or as after.
func between(got, before, after catalogState) bool {
	names := maps.Clone(before)
	maps.Copy(names, after)
	maps.Copy(names, got)
	for name := range names {
		is, exists := got[name]
		if !same(is, exists, before, name) && !same(is, exists, after, name) {
			return false
		}
	}
	return true
}

func same(is topicState, exists bool, in catalogState, name record.Topic) bool {
	want, wanted := in[name]
	return exists == wanted && reflect.DeepEqual(is, want)
}

// A damaged or lost state file costs the settings, not the records; and without
// settings nothing is deleted by age.
func TestTopicsAreAdoptedFromTheirLogs(t *testing.T) {
	fsys := crashfs.New()
	store, c := openCatalogOn(t, fsys)
	for _, step := range []catalogStep{createStep(2, "flipped", "lost"), appendStep("flipped", 1, 3), appendStep("lost", 0, 3), configureStep("flipped", "1000")} {
		if err := step.run(store, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.FlipBit(topicsDir+"/flipped", 40); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Remove(topicsDir + "/lost"); err != nil {
		t.Fatal(err)
	}
	got := reopened(t, fsys)
	want := catalogState{
		"flipped": {ends: []record.Offset{0, 3}, retention: "-1"},
		"lost":    {ends: []record.Offset{3, 0}, retention: "-1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// When the disk refuses, a change is refused, the catalog stays as it was, and
// works again afterwards.
func TestCatalogUnderDiskErrors(t *testing.T) {
	for nth := 1; ; nth++ {
		fsys := crashfs.New()
		store, c := openCatalogOn(t, fsys)
		if err := createStep(1, "kept").run(store, c); err != nil {
			t.Fatal(err)
		}
		hits := fsys.Inject(crashfs.Fault{Nth: nth, Err: errDisk})
		for _, step := range []catalogStep{createStep(2, "a"), configureStep("kept", "5000"), growStep("kept", 2), removeStep("kept")} {
			_ = step.run(store, c)
		}
		fsys.Heal()
		if hits() == 0 {
			closeStore(t, store)
			if nth < 10 {
				t.Errorf("only %d operations could fail", nth-1)
			}
			return
		}
		shown := catalogState{}
		for _, topic := range c.topics.all() {
			shown[topic.name] = topicState{}
			for _, l := range topic.logs() {
				if l == nil {
					t.Fatalf("operation %d: topic %s shows a partition without a log", nth, topic.name)
				}
			}
		}
		closeStore(t, store)
		again := reopened(t, fsys)
		for name := range shown {
			if _, ok := again[name]; !ok {
				t.Errorf("operation %d: topic %s was shown and is gone after a restart", nth, name)
			}
		}
	}
}

var errDisk = fmt.Errorf("the disk says no")

// closeStore ignores the error: a log that failed says so again.
func closeStore(t *testing.T, store *log.Store) {
	t.Helper()
	_ = store.Close()
}
