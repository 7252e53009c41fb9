package clicks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"millrace/internal/client"
	"millrace/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fakeCluster(t *testing.T, opts ...kfake.Opt) client.Config {
	t.Helper()
	defaults := []kfake.Opt{kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(4)}
	cluster, err := kfake.NewCluster(append(defaults, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return client.Config{Brokers: cluster.ListenAddrs()}
}

// start runs a job over c until the test ends.
func start(t *testing.T, c client.Config, registerer prometheus.Registerer) *Job {
	t.Helper()
	j := New(Options{Client: c, Registerer: registerer})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return j
}

func send(t *testing.T, c client.Config, values ...string) {
	t.Helper()
	p, err := client.NewProducer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, v := range values {
		r := record.Record{TopicPartition: record.TopicPartition{Topic: Topic}, Value: []byte(v)}
		if v == "" {
			r.Value = nil
		}
		if err := p.Send(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := p.Delivered(); d.Acked != int64(len(values)) {
		t.Fatalf("sent %d events: %+v", len(values), d)
	}
}

func event(user any, page string) string {
	id := fmt.Sprint(user)
	if s, ok := user.(string); ok {
		id = `"` + s + `"`
	}
	return fmt.Sprintf(`{"user_id":%s,"timestamp":1700000000,"page":%q}`, id, page)
}

// eventually polls a condition that another goroutine brings about: a job has
// no hook for "counted", and the deadline only bounds a failing test.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestJobCountsUsersAndPages(t *testing.T) {
	c := fakeCluster(t)
	j := start(t, c, nil)
	var events []string
	for i := range 5000 {
		events = append(events, event(i%10, fmt.Sprint("/", i%3)))
	}
	send(t, c, events...)
	send(t, c, event("7", "/extra"))
	eventually(t, "5001 clicks", func() bool { return j.Totals().Clicks == 5001 })
	totals := j.Totals()
	if totals.Users != 10 || totals.Pages != 4 || totals.DeadLetters != 0 {
		t.Errorf("totals are %+v", totals)
	}
	if clicks, known, _, _ := j.User("7"); clicks != 501 || !known {
		t.Errorf("the integer 7 and the string 7 have %d clicks together, want 501", clicks)
	}
	top, asOf := j.TopUsers(2)
	if len(top) != 2 || top[0] != (Count{"7", 501}) || top[1] != (Count{"0", 500}) {
		t.Errorf("top users are %v", top)
	}
	var sum record.Offset
	for _, next := range asOf.Offsets {
		sum += next
	}
	if sum != 5001 || !asOf.Watermark.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("as of %+v", asOf)
	}
}

func TestJobCountsFromTheStartAfterARestart(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, event("ana", "/"), "garbage", event("ana", "/"))
	for range 2 {
		j := start(t, c, nil)
		eventually(t, "readiness", func() bool { return j.Progress().Ready })
		if totals := j.Totals(); totals.Clicks != 2 || totals.DeadLetters != 1 {
			t.Errorf("ready with %+v", totals)
		}
		if p := j.Progress(); p.Counted != 3 || p.Of != 3 {
			t.Errorf("progress is %+v", p)
		}
	}
}

func TestJobIsReadyOnAnEmptyCluster(t *testing.T) {
	j := start(t, fakeCluster(t), nil)
	eventually(t, "readiness", func() bool { return j.Progress().Ready })
}

// TestPoisonNeverStopsTheJob sends the whole poison corpus, each event between
// two good ones, and checks that everything is counted as what it is.
func TestPoisonNeverStopsTheJob(t *testing.T) {
	c := fakeCluster(t)
	registry := prometheus.NewPedanticRegistry()
	j := start(t, c, registry)
	want := make(map[Reason]int64)
	var events []string
	for bad, reason := range poison() {
		if len(bad) > 900_000 {
			bad = bad[:len(bad)/4*3] // fits into a batch of 1 MB; now its end is missing
			reason = InvalidJSON
		}
		want[reason]++
		events = append(events, event("ana", "/"), bad)
	}
	events = append(events, event("ana", "/"))
	send(t, c, events...)
	total := int64(len(events))
	eventually(t, "all events", func() bool { got := j.Totals(); return got.Clicks+got.DeadLetters == total })
	letters, byReason, _ := j.DeadLetters(MaxDeadLetters)
	for _, reason := range Reasons() {
		if byReason[reason] != want[reason] {
			t.Errorf("%s: %d events, want %d", reason, byReason[reason], want[reason])
		}
	}
	if totals := j.Totals(); totals.Clicks != int64(len(poison()))+1 || len(letters) != len(poison()) {
		t.Errorf("%d clicks and %d dead letters of %d events", totals.Clicks, len(letters), total)
	}
	for _, l := range letters {
		if l.Topic != Topic || l.Offset < 0 || l.Reason == "" || l.Detail == "" {
			t.Errorf("a dead letter says too little: %+v", l)
		}
	}
	checkMetrics(t, registry, want)
}

func checkMetrics(t *testing.T, registry *prometheus.Registry, want map[Reason]int64) {
	t.Helper()
	expected := "# HELP millrace_job_dead_letters_total Malformed events, by reason.\n# TYPE millrace_job_dead_letters_total counter\n"
	for _, reason := range Reasons() {
		expected += fmt.Sprintf("millrace_job_dead_letters_total{job=%q,reason=%q} %d\n", JobName, reason, want[reason])
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(expected), "millrace_job_dead_letters_total"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", []promlint.Problem(problems), err)
	}
}

// TestJobCountsANewTopicOfTheSameName: what was counted of a deleted topic must
// not stay in the counts of its successor.
func TestJobCountsANewTopicOfTheSameName(t *testing.T) {
	for name, version := range map[string]*kversion.Versions{"with topic IDs": kversion.Stable(), "without": kversion.V2_7_0()} {
		t.Run(name, func(t *testing.T) {
			c := fakeCluster(t, kfake.MaxVersions(version))
			j := start(t, c, nil)
			send(t, c, event("ana", "/"), event("ana", "/"), event("bob", "/"))
			eventually(t, "3 clicks", func() bool { return j.Totals().Clicks == 3 })
			admin, err := client.NewAdmin(c)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			if err := admin.DeleteTopic(t.Context(), Topic); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the count to be dropped", func() bool { return j.Totals().Clicks == 0 })
			send(t, c, event("cem", "/"), event("cem", "/"), event("cem", "/"), event("cem", "/"), event("cem", "/"))
			eventually(t, "5 new clicks", func() bool { return j.Totals().Clicks == 5 })
			if _, known, _, _ := j.User("ana"); known {
				t.Error("ana clicked in the deleted topic only")
			}
		})
	}
}

// TestJobPassesDamage makes the cluster refuse offsets 3 to 6 as damaged, as a
// broker does that found rot on its disk.
func TestJobPassesDamage(t *testing.T) {
	cluster := kfake.MustCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	defer cluster.Close()
	const from, to = 3, 7
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetch := request.(*kmsg.FetchRequest)
		if len(fetch.Topics) == 0 || fetch.Topics[0].Partitions[0].FetchOffset < from || fetch.Topics[0].Partitions[0].FetchOffset >= to {
			return nil, nil, false
		}
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.ErrorCode = kerr.CorruptMessage.Code
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = fetch.Topics[0].Topic, fetch.Topics[0].TopicID
		topic.Partitions = append(topic.Partitions, partition)
		response := fetch.ResponseKind().(*kmsg.FetchResponse)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	c := client.Config{Brokers: cluster.ListenAddrs()}
	j := start(t, c, nil)
	send(t, c, event("ana", "/"), event("ana", "/"), event("ana", "/"))
	eventually(t, "3 clicks", func() bool { return j.Totals().Clicks == 3 })
	for range 7 {
		send(t, c, event("ana", "/")) // each in a batch of its own
	}
	eventually(t, "what lies behind the damage", func() bool { return j.Totals().AsOf.Offsets[0] == 10 })
	letters, byReason, _ := j.DeadLetters(10)
	if got := j.Totals().Clicks; got != 6 || byReason[Damaged] != to-from {
		t.Errorf("%d clicks and %d damaged events, want 6 and %d", got, byReason[Damaged], to-from)
	}
	lost := make(map[record.Offset]bool)
	for _, l := range letters {
		for i := range l.Events {
			lost[l.Offset+record.Offset(i)] = true
		}
	}
	if len(lost) != to-from || !lost[from] || !lost[to-1] {
		t.Errorf("the letters name the offsets %v, want %d to %d", lost, from, to-1)
	}
}

func TestJobWaitsForAClusterThatIsAway(t *testing.T) {
	j := start(t, client.Config{Brokers: []string{"127.0.0.1:1"}, DialTimeout: 100 * time.Millisecond}, nil)
	eventually(t, "the reason", func() bool { return strings.Contains(j.Progress().Waiting, "no broker could be reached") })
	if j.Progress().Ready {
		t.Error("ready without a cluster")
	}
}

func TestWrongSettingsEndTheJob(t *testing.T) {
	j := New(Options{Client: client.Config{Compression: "rar"}})
	if err := j.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "rar") {
		t.Errorf("Run ended with %v", err)
	}
}
