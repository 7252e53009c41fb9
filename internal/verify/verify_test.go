package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/client"
)

// cluster is a broker on which a test plays the job.
type cluster struct {
	t    *testing.T
	kgo  *kgo.Client
	addr []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, string(input)), kfake.SeedTopics(1, string(userCounts), string(pageCounts), string(deadLetters)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &cluster{t, c, fake.ListenAddrs()}
}

func (c *cluster) produce(topic string, partition int32, key, value string, headers ...kgo.RecordHeader) {
	c.t.Helper()
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(value), Headers: headers}
	if err := c.kgo.ProduceSync(c.t.Context(), r).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) click(partition int32, user, page string) {
	c.t.Helper()
	c.produce(string(input), partition, "", fmt.Sprintf(`{"user_id":%q,"timestamp":1700000000,"page":%q}`, user, page))
}

func (c *cluster) count(topic, field, name string, clicks int) {
	c.t.Helper()
	c.produce(topic, 0, name, fmt.Sprintf(`{%q:%q,"clicks":%d}`, field, name, clicks))
}

func (c *cluster) deadLetter(source string) {
	c.t.Helper()
	c.produce(string(deadLetters), 0, "", "x", kgo.RecordHeader{Key: sourceHeader, Value: []byte(source)})
}

// commit is the job's position in the input's partitions.
func (c *cluster) commit(offsets ...int64) {
	c.t.Helper()
	var o kadm.Offsets
	for p, at := range offsets {
		o.AddOffset(string(input), int32(p), at, -1)
	}
	if err := kadm.NewClient(c.kgo).CommitAllOffsets(c.t.Context(), group, o); err != nil {
		c.t.Fatal(err)
	}
}

// right is a job that has counted ana twice, bob once, and refused one event.
func right(t *testing.T) *cluster {
	c := newCluster(t)
	c.click(0, "ana", "/")
	c.click(1, "ana", "/x")
	c.click(1, "bob", "/")
	c.produce(string(input), 0, "", "no json")
	c.count("click_counts", "user_id", "ana", 1)
	c.count("click_counts", "user_id", "ana", 2)
	c.count("click_counts", "user_id", "bob", 1)
	c.count("page_counts", "page", "/", 2)
	c.count("page_counts", "page", "/x", 1)
	c.deadLetter("click_events/0/1")
	c.commit(2, 2)
	return c
}

func (c *cluster) verify(patience time.Duration) (Report, error) {
	c.t.Helper()
	return ClickCount(c.t.Context(), Options{Client: client.Config{Brokers: c.addr}, Pages: true, Patience: patience})
}

func TestAMatch(t *testing.T) {
	report, err := right(t).verify(time.Minute)
	if err != nil || !report.Match() || report.Clicks != 3 || report.Users != 2 || report.Pages != 2 || report.DeadLetters != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

// Each planted fault is found, with nothing else.
func TestPlantedDifferencesAreFound(t *testing.T) {
	for name, plant := range map[string]struct {
		plant func(*cluster)
		want  string
	}{
		"count too high":       {func(c *cluster) { c.count("click_counts", "user_id", "ana", 3) }, `user "ana": stored 3, recounted 2`},
		"count too low":        {func(c *cluster) { c.count("click_counts", "user_id", "ana", 1) }, `user "ana": stored 1, recounted 2`},
		"user unknown":         {func(c *cluster) { c.count("click_counts", "user_id", "eve", 1) }, `user "eve": stored 1, recounted 0`},
		"user missing":         {func(c *cluster) { c.tombstone("click_counts", "bob") }, `user "bob": stored 0, recounted 1`},
		"no count":             {func(c *cluster) { c.produce("click_counts", 0, "bob", "[]") }, `user "bob": stored -1, recounted 1`},
		"page":                 {func(c *cluster) { c.count("page_counts", "page", "/x", 2) }, `page "/x": stored 2, recounted 1`},
		"dead letter twice":    {func(c *cluster) { c.deadLetter("click_events/0/1") }, `dead letter "click_events/0/1": stored 2, recounted 1`},
		"dead letter of none":  {func(c *cluster) { c.deadLetter("click_events/0/0") }, `dead letter "click_events/0/0": stored 1, recounted 0`},
		"dead letter of where": {func(c *cluster) { c.produce(string(deadLetters), 0, "", "x") }, `dead letter "(no millrace.source)": stored 1, recounted 0`},
	} {
		t.Run(name, func(t *testing.T) {
			c := right(t)
			plant.plant(c)
			report, err := c.verify(time.Minute)
			if err != nil || report.Differences != 1 || report.Shown[0].String() != plant.want {
				t.Errorf("%+v, %v; want %s", report, err, plant.want)
			}
		})
	}
}

func (c *cluster) tombstone(topic, key string) {
	c.t.Helper()
	if err := c.kgo.ProduceSync(c.t.Context(), &kgo.Record{Topic: topic, Key: []byte(key)}).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

func TestAJobThatIsBehindIsNamed(t *testing.T) {
	c := right(t)
	c.click(0, "ana", "/")
	_, err := c.verify(300 * time.Millisecond)
	behind, ok := errors.AsType[*BehindError](err)
	if !ok || behind.Partition != 0 || behind.Committed != 2 || behind.Want != 3 {
		t.Errorf("%v", err)
	}
}

// The group's offsets of a commit can be seen before its records: Kafka writes
// the markers behind the answer. What is open is waited for.
func TestResultsOfACommitThatIsStillArriving(t *testing.T) {
	c := right(t)
	c.click(0, "ana", "/")
	c.commit(3, 2)
	job, err := kgo.NewClient(kgo.SeedBrokers(c.addr...), kgo.TransactionalID("job"))
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	if err := job.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	results := &cluster{t, job, c.addr}
	results.count("click_counts", "user_id", "ana", 3)
	results.count("page_counts", "page", "/", 3)
	if report, err := c.verify(5 * time.Second); err == nil || !strings.Contains(err.Error(), "open transaction of click_counts-0") {
		t.Errorf("while it is open: %+v, %v", report, err)
	}
	if err := job.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if report, err := c.verify(time.Minute); err != nil || !report.Match() || report.Clicks != 4 {
		t.Errorf("when it has ended: %+v, %v", report, err)
	}
}

func TestATrimmedInputIsRefused(t *testing.T) {
	c := right(t)
	var o kadm.Offsets
	o.AddOffset(string(input), 1, 1, -1)
	if _, err := kadm.NewClient(c.kgo).DeleteRecords(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	_, err := c.verify(time.Minute)
	if trimmed, ok := errors.AsType[*TrimmedError](err); !ok || trimmed.Start != 1 || trimmed.Partition != 1 {
		t.Errorf("%v", err)
	}
}

// What arrives while the results are read widens the bounds, for those whom it
// concerns.
func TestBoundsWhileClicksArrive(t *testing.T) {
	for _, c := range []struct {
		first, all, stored int64
		fits               bool
	}{{2, 2, 2, true}, {2, 3, 2, true}, {2, 3, 3, true}, {2, 3, 1, false}, {2, 3, 4, false}, {0, 1, 0, true}} {
		if got := (tally{c.first, c.all}).fits(c.stored); got != c.fits {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestParse(t *testing.T) {
	good := map[string]click{
		`{"user_id":"ana","timestamp":1700000000,"page":"/"}`:                  {"ana", "/", 1700000000000},
		`{"user_id":7,"timestamp":1700000000123456,"page":"/","x":[1e999]}`:    {"7", "/", 1700000000123},
		`{"user_id":"a","timestamp":"2023-11-14T22:13:20.5Z","page":"\u00e4"}`: {"a", "ä", 1700000000500},
	}
	for event, want := range good {
		if got, ok := parse([]byte(event)); !ok || got != want {
			t.Errorf("%s: %+v, %v", event, got, ok)
		}
	}
	bad := []string{``, `7`, `null`, `{}`, `{"user_id":"","timestamp":1,"page":"/"}`, `{"user_id":1.5,"timestamp":1,"page":"/"}`,
		`{"user_id":"a","timestamp":"soon","page":"/"}`, `{"user_id":"a","timestamp":1e17,"page":"/"}`, `{"user_id":"a","timestamp":1,"page":7}`,
		`{"user_id":"a","user_id":"a","timestamp":1,"page":"/"}`, `{"user_id":"a","timestamp":1,"page":"/"}}`, "{\"user_id\":\"\xff\",\"timestamp\":1,\"page\":\"/\"}"}
	for _, event := range bad {
		if got, ok := parse([]byte(event)); ok {
			t.Errorf("%s is taken as %+v", event, got)
		}
	}
	if len(slices.Compact(bad)) != len(bad) {
		t.Error("an event is there twice")
	}
}
