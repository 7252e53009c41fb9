package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
	"millrace/window"
)

func TestCommitRecordComesBack(t *testing.T) {
	shape := form{store: "s", key: "string", value: "count", size: time.Minute, slide: time.Second}
	want := commitRecord{form: shape, progress: []byte("progress"), inputs: []inputMark{
		{topic: "in", topicID: [16]byte{1, 15: 2}, offset: 1 << 40, leaderEpoch: -1},
		{topic: "other", offset: 0, leaderEpoch: 3},
	}, origins: []origin{{topic: "far", topicID: [16]byte{7}}}}
	b := want.append(nil)
	got, err := decodeCommit(b)
	if err != nil {
		t.Fatal(err)
	}
	if got.form != shape || got.spec != shape.hash() || string(got.progress) != "progress" || len(got.inputs) != 2 || got.inputs[0] != want.inputs[0] || got.inputs[1] != want.inputs[1] || !slices.Equal(got.origins, want.origins) {
		t.Errorf("got %+v", got)
	}
	for n := range len(b) - len("progress") {
		if _, err := decodeCommit(b[:n]); !errors.Is(err, errCommitRecord) {
			t.Errorf("the first %d bytes are accepted: %v", n, err)
		}
	}
	b[0] = 4
	if _, err := decodeCommit(b); err == nil || !strings.Contains(err.Error(), "version 4") {
		t.Errorf("a newer version: %v", err)
	}
	// What the first version wrote for one input "in" at offset 5.
	old := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 'i', 'n'}, make([]byte, 16)...)
	got, err = decodeCommit(append(old, 5, 1, 'p'))
	if err != nil || got.spec != 7 || got.form != (form{}) || len(got.inputs) != 1 || got.inputs[0].offset != 5 || string(got.progress) != "p" {
		t.Errorf("version 1: %+v, %v", got, err)
	}
	// What the second one wrote: no origins.
	none := commitRecord{form: shape, inputs: want.inputs[:1]}
	second := none.append(nil)
	second[0] = 2
	got, err = decodeCommit(append(second[:len(second)-1], 'p'))
	if err != nil || got.form != shape || len(got.inputs) != 1 || len(got.origins) != 0 || string(got.progress) != "p" {
		t.Errorf("version 2: %+v, %v", got, err)
	}
}

func FuzzDecodeCommit(f *testing.F) {
	f.Add((&commitRecord{form: form{store: "s"}, inputs: []inputMark{{topic: "in", offset: 3}}, progress: []byte("p")}).append(nil))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommit(b)
		if err != nil {
			return
		}
		again, err := decodeCommit(c.append(nil))
		if err != nil || len(again.inputs) != len(c.inputs) || string(again.progress) != string(c.progress) {
			t.Fatalf("%v: %+v became %+v", err, c, again)
		}
	})
}

func TestCommitIsDue(t *testing.T) {
	start := time.Unix(1000, 0)
	l := limits{interval: 100 * time.Millisecond, quick: 10 * time.Millisecond, age: 5 * time.Second, records: 10, bytes: 100, keys: 5, crossing: 7, sent: 50}
	for name, c := range map[string]struct {
		open  opened
		after time.Duration
		want  bool
	}{
		"nothing in it":  {opened{}, time.Hour, false},
		"fresh":          {opened{first: start, records: 1}, 99 * time.Millisecond, false},
		"interval":       {opened{first: start, records: 1}, 100 * time.Millisecond, true},
		"few, no more":   {opened{first: start, records: 1, atEnd: true}, 10 * time.Millisecond, true},
		"few, too fresh": {opened{first: start, records: 1, atEnd: true}, 9 * time.Millisecond, false},
		"records":        {opened{first: start, records: 10}, 0, true},
		"memory":         {opened{first: start, records: 1, bytes: 100}, 0, true},
		"keys":           {opened{first: start, records: 1, keys: 5}, 0, true},
		"crossing keys":  {opened{first: start, records: 1, crossing: 7}, 0, true},
		"bytes produced": {opened{first: start, records: 1, sent: 50}, 0, true},
	} {
		if got := l.due(c.open, start.Add(c.after)); got != c.want {
			t.Errorf("%s: due is %v", name, got)
		}
	}
	l.interval = time.Hour // however slow commits are, the brokers' patience is not used up
	if !l.due(opened{first: start, records: 1}, start.Add(5*time.Second)) {
		t.Error("half of the transaction timeout does not force a commit")
	}
}

func TestIntervalAdaptsToSlowCommits(t *testing.T) {
	const ms = time.Millisecond
	o := Options{CommitInterval: 100 * ms, TransactionTimeout: 10 * time.Second}
	for name, c := range map[string]struct {
		took            []time.Duration
		interval, quick time.Duration
	}{
		"fast":                 {[]time.Duration{ms, ms, ms}, 100 * ms, 5 * ms},
		"slow":                 {[]time.Duration{ms, 100 * ms, 100 * ms, 100 * ms}, 400 * ms, 100 * ms},
		"one stall":            {[]time.Duration{3 * ms, 3 * ms, 300 * ms}, 100 * ms, 5 * ms},
		"fast again":           {[]time.Duration{100 * ms, 100 * ms, 100 * ms, ms}, 100 * ms, 5 * ms},
		"the brokers' timeout": {[]time.Duration{time.Minute, time.Minute, time.Minute}, 2500 * ms, 2500 * ms},
	} {
		l := o.limits()
		for _, took := range c.took {
			l = l.adapt(o, opened{}, took)
		}
		if l.interval != c.interval || l.quick != c.quick {
			t.Errorf("%s: the intervals are %v and %v, want %v and %v", name, l.interval, l.quick, c.interval, c.quick)
		}
	}
}

func TestLimitOfKeysAdaptsToFastCommits(t *testing.T) {
	const ms = time.Millisecond
	o := Options{CommitInterval: 100 * ms, TransactionTimeout: 8 * time.Second}
	type commit struct {
		keys int
		took time.Duration
		want int
	}
	for name, commits := range map[string][]commit{
		"as many as a second allows": {{200_000, 400 * ms, 500_000}, {500_000, 1000 * ms, 500_000}, {500_000, 500 * ms, 1_000_000}},
		"not more than four times":   {{200_000, 10 * ms, 800_000}, {800_000, 10 * ms, 3_200_000}, {3_200_000, 10 * ms, 4_000_000}, {4_000_000, 0, 4_000_000}},
		"few say nothing":            {{200_000, 100 * ms, 800_000}, {300_000, 900 * ms, 800_000}, {0, 0, 800_000}},
		"too slow":                   {{200_000, 100 * ms, 800_000}, {800_000, 2000 * ms, 400_000}, {400_000, 8000 * ms, 200_000}, {10, 8000 * ms, 200_000}},
		"a stall of few":             {{200_000, 100 * ms, 800_000}, {10, 1000 * ms, 200_000}},
	} {
		l := o.limits()
		for i, c := range commits {
			if l = l.adapt(o, opened{keys: c.keys}, c.took); l.keys != c.want {
				t.Errorf("%s, commit %d: the limit is %d keys, want %d", name, i, l.keys, c.want)
			}
		}
		if l = l.refused(); l.keys != 200_000 {
			t.Errorf("%s: after a refused transaction it is %d", name, l.keys)
		}
	}
}

// TestPlanRestore is rules 10 and 11 of a restore, and what a copy from another
// cluster or a lost changelog looks like.
func TestRefusedTransactionsWaitLonger(t *testing.T) {
	const ms = time.Millisecond
	o := Options{CommitInterval: 100 * ms, TransactionTimeout: 10 * time.Second}
	l := o.limits()
	for _, want := range []time.Duration{10 * ms, 20 * ms, 40 * ms, 80 * ms, 100 * ms, 100 * ms} {
		if l = l.refused(); l.quick != want || l.interval != 100*ms {
			t.Errorf("after one more the intervals are %v and %v, want %v", l.interval, l.quick, want)
		}
	}
	if l = l.adapt(o, opened{}, ms); l.quick != 5*ms {
		t.Errorf("after a commit it is %v", l.quick)
	}
}

func TestPlanRestore(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	id, other := [16]byte{1}, [16]byte{2}
	tp := record.TopicPartition{Topic: "app-s-changelog", Partition: 1}
	plain, windowed := topology.StoreSpec{Name: "s"}, topology.StoreSpec{Name: "s", Window: window.Tumbling(time.Minute)}
	fresh := store.Position{Next: 50, TopicID: id, AppliedAt: now.Add(-time.Hour)}
	old := fresh
	old.AppliedAt = now.Add(-24 * time.Hour)
	for name, c := range map[string]struct {
		spec    topology.StoreSpec
		at      store.Position
		has     bool
		topicID [16]byte
		span    client.Span
		want    restoring
		refused bool
	}{
		"nothing on disk":                       {plain, store.Position{}, false, id, client.Span{Start: 0, Stable: 90}, restoring{from: 0}, false},
		"the tail":                              {plain, fresh, true, id, client.Span{Start: 0, Stable: 90}, restoring{from: 50}, false},
		"nothing to do":                         {plain, fresh, true, id, client.Span{Start: 0, Stable: 50}, restoring{from: 50}, false},
		"tombstones may be gone":                {plain, old, true, id, client.Span{Start: 0, Stable: 90}, restoring{clear: true}, false},
		"changelog cut behind us":               {plain, fresh, true, id, client.Span{Start: 50, Stable: 90}, restoring{from: 50}, false},
		"changelog cut before us":               {plain, fresh, true, id, client.Span{Start: 51, Stable: 90}, restoring{}, true},
		"changelog cut, nothing on disk":        {plain, store.Position{}, false, id, client.Span{Start: 5, Stable: 90}, restoring{}, true},
		"changelog cut, old copy":               {plain, old, true, id, client.Span{Start: 5, Stable: 90}, restoring{}, true},
		"retention of a windowed changelog":     {windowed, fresh, true, id, client.Span{Start: 70, Stable: 90}, restoring{from: 70}, false},
		"retention, nothing on disk":            {windowed, store.Position{}, false, id, client.Span{Start: 70, Stable: 90}, restoring{from: 70}, false},
		"another changelog under the same name": {plain, fresh, true, other, client.Span{Start: 0, Stable: 90}, restoring{clear: true}, false},
		"changelog lost its end":                {plain, fresh, true, id, client.Span{Start: 0, Stable: 40}, restoring{}, true},
	} {
		got, err := planRestore(c.spec, tp, c.at, c.has, c.topicID, c.span, now)
		if _, refused := errors.AsType[*ChangelogError](err); refused != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if !c.refused && (got.from != c.want.from || got.clear != c.want.clear) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestStateIsHeldAgainstOffsets(t *testing.T) {
	spec := topology.StoreSpec{Name: "s", Key: "string"}
	in := record.TopicPartition{Topic: "in", Partition: 2}
	ids := map[record.Topic][16]byte{"in": {5}}
	at := func(offset record.Offset) *commitRecord {
		return &commitRecord{form: formOf(spec), spec: formOf(spec).hash(), inputs: []inputMark{{topic: "in", topicID: ids["in"], offset: offset}}}
	}
	committed := func(offset record.Offset) map[record.TopicPartition]record.Offset {
		return map[record.TopicPartition]record.Offset{in: offset}
	}
	if err := checkState(spec, at(7), committed(7), 2, ids); err != nil {
		t.Error(err)
	}
	if err := checkState(spec, nil, committed(-1), 2, ids); err != nil {
		t.Errorf("a new job: %v", err)
	}
	for name, c := range map[string]struct {
		state  *commitRecord
		offset record.Offset
	}{"behind": {at(6), 7}, "ahead": {at(8), 7}, "no state": {nil, 7}, "no offset": {at(7), -1}} {
		if _, ok := errors.AsType[*MismatchError](checkState(spec, c.state, committed(c.offset), 2, ids)); !ok {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, ok := errors.AsType[*RecreatedError](checkState(spec, at(7), committed(7), 2, map[record.Topic][16]byte{"in": {6}})); !ok {
		t.Error("an input that was created anew is accepted")
	}
	behind := at(7)
	behind.origins = []origin{{topic: "far", topicID: [16]byte{1}}}
	for id, want := range map[byte]bool{1: false, 2: true} {
		err := checkState(spec, behind, committed(7), 2, map[record.Topic][16]byte{"in": {5}, "far": {id}})
		if _, ok := errors.AsType[*RecreatedError](err); ok != want {
			t.Errorf("a topic behind a hop, with the id %d: %v", id, err)
		}
	}
	if err := checkState(spec, behind, committed(7), 2, ids); err != nil {
		t.Errorf("a topic that the job reads no more: %v", err)
	}
	changed := spec
	changed.Window = window.Tumbling(time.Minute)
	if _, ok := errors.AsType[*ChangedError](checkState(changed, at(7), committed(7), 2, ids)); !ok {
		t.Error("another window is accepted")
	}
}

func TestPreflight(t *testing.T) {
	stateful := topology.Plan{App: "app", Subs: []topology.Sub{
		{ID: 0, Sources: []topology.Source{{Topic: "in", Upstream: -1}}, Sinks: []topology.Sink{{Topic: "app-c-repartition", Kind: topology.SinkRepartition}}},
		{
			ID: 1, Sources: []topology.Source{{Topic: "app-c-repartition", Upstream: 0}}, CoPartitioned: true,
			Sinks:  []topology.Sink{{Topic: "out", Kind: topology.SinkTable}},
			Stores: []topology.StoreSpec{{Name: "c", Changelog: "app-c-changelog"}},
		},
	}}
	facts := map[record.Topic]client.TopicFacts{}
	var created []string
	for range 5 { // each call creates what it can; partitions follow from sources
		create, problems := preflight(&stateful, facts, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, c := range create {
			n := c.Partitions
			if n == 0 {
				n = 6
			}
			facts[c.Name] = client.TopicFacts{Partitions: int32(n)}
			created = append(created, string(c.Name)+" "+c.Settings["cleanup.policy"])
		}
	}
	if want := "in ,out compact,app-c-repartition delete,app-c-changelog compact"; strings.Join(created, ",") != want {
		t.Errorf("created %q, want %q", strings.Join(created, ","), want)
	}
	if facts["app-c-changelog"].Partitions != 6 || missing(&stateful, facts) != "" {
		t.Errorf("facts are %v, missing is %q", facts, missing(&stateful, facts))
	}

	facts["app-c-repartition"] = client.TopicFacts{Partitions: 8}
	if _, problems := preflight(&stateful, facts, nil); len(problems) != 1 || !strings.Contains(problems[0].Error(), "has 8 partitions, its changelog \"app-c-changelog\" has 6") {
		t.Errorf("a changed number of partitions: %v", problems)
	}
	facts["app-c-repartition"] = client.TopicFacts{Partitions: 6}
	delete(facts, "app-c-changelog")
	committed := map[record.TopicPartition]record.Offset{{Topic: "app-c-repartition", Partition: 1}: 5}
	if _, problems := preflight(&stateful, facts, committed); len(problems) != 1 || !strings.Contains(problems[0].Error(), "state \"c\" has no changelog") {
		t.Errorf("a renamed state: %v", problems)
	}
}

func TestSubTopologiesThatShareATopicStayTogether(t *testing.T) {
	source := func(topics ...record.Topic) topology.Sub {
		var s topology.Sub
		for _, topic := range topics {
			s.Sources = append(s.Sources, topology.Source{Topic: topic, Upstream: -1})
		}
		return s
	}
	groups := groupTopics([]topology.Sub{source("a"), source("b"), source("c"), source("a", "c")})
	if len(groups) != 2 {
		t.Fatalf("got %d groups: %+v", len(groups), groups)
	}
	for _, g := range groups {
		if slices.Contains(g.topics, "a") != slices.Contains(g.topics, "c") || slices.Contains(g.topics, "a") == slices.Contains(g.topics, "b") {
			t.Errorf("topics %v are together", g.topics)
		}
	}
}
