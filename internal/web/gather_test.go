package web

import (
	"encoding/json/v2"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/record"
)

// partOf is a task's part with a position that tells the tasks apart.
func partOf(task record.Partition, tasks int, top ...Count) Part {
	p := Part{Task: task, Tasks: tasks, Names: int64(len(top)), Top: top, AsOf: AsOf{
		Offsets:     map[record.Partition]record.Offset{0: 10 + record.Offset(task)},
		UpTo:        map[record.Partition]record.Offset{0: 10 + record.Offset(task)},
		Watermark:   time.Unix(1000+int64(task), 0).UTC(),
		CommittedAt: time.Unix(2000-int64(task), 0).UTC(),
	}}
	for _, c := range top {
		p.Clicks += c.Clicks
	}
	return p
}

// having makes results of users only.
func having(parts ...Part) func(*fakeResults) {
	return func(f *fakeResults) {
		f.parts = func(top int) Parts {
			return Parts{Users: parts, Pages: nil, DeadLetters: 5, Progress: Progress{Ready: true, Counted: 1, Of: 1}}
		}
	}
}

// instance is a server of another instance, and the Peer that it is.
func instance(t *testing.T, name string, set func(*fakeResults)) Peer {
	t.Helper()
	s, results := newServer(t, nil)
	results.set(set)
	far := httptest.NewServer(s.Handler())
	t.Cleanup(far.Close)
	return Peer{name, strings.TrimPrefix(far.URL, "http://")}
}

func TestAnyInstanceAnswersForTheWholeJob(t *testing.T) {
	far := instance(t, "job-b", having(partOf(1, 3, Count{"bob", 7}, Count{"cid", 1}), partOf(2, 3, Count{"dan", 4})))
	here, results := newServer(t, nil)
	results.set(having(partOf(0, 3, Count{"ana", 5})))
	results.set(func(f *fakeResults) { f.peers = []Peer{far} })

	const asOf = `"as_of":{"committed_at":"1970-01-01T00:33:18Z","offsets":{"0":10},"up_to":{"0":12},"watermark":"1970-01-01T00:16:40Z"}`
	for path, want := range map[string]string{
		"/v1/counts":               `{` + asOf + `,"clicks":17,"dead_letters":5,"demo_clicks":0,"pages":0,"users":4}`,
		"/v1/counts/users?limit=3": `{` + asOf + `,"users":[{"clicks":7,"user_id":"bob"},{"clicks":5,"user_id":"ana"},{"clicks":4,"user_id":"dan"}]}`,
	} {
		if _, body := get(t, here, "GET", path); compact(t, body) != want {
			t.Errorf("%s\n got %s\nwant %s", path, compact(t, body), want)
		}
	}
	if n := testutil.ToFloat64(here.gatherer.asked.WithLabelValues("ok")); n != 2 {
		t.Errorf("%v questions to others are counted", n)
	}
}

// Totals know no event time: the time up to which minutes are complete is that of
// the slowest task of the minutes, on whichever instance it runs, and not known as
// long as one of them is missing.
func TestTheWatermarkIsThatOfTheMinutes(t *testing.T) {
	total := partOf(0, 1, Count{"ana", 5})
	total.AsOf.Watermark = time.Time{}
	with := func(minutes ...Part) func(*fakeResults) {
		return func(f *fakeResults) {
			f.parts = func(int) Parts {
				return Parts{Users: []Part{total}, Pages: []Part{total}, Minutes: minutes, Progress: Progress{Ready: true}}
			}
		}
	}
	total.AsOf.CommittedAt = time.Time{}
	timeless := partOf(1, 2)
	timeless.AsOf.Watermark = time.Time{}
	for name, c := range map[string]struct {
		here, far []Part
		want      string
	}{
		"the slowest":       {[]Part{partOf(1, 2)}, []Part{partOf(0, 2)}, `"1970-01-01T00:16:40Z"`},
		"one is missing":    {[]Part{partOf(1, 2)}, nil, "null"},
		"one has not begun": {[]Part{partOf(0, 2)}, []Part{timeless}, "null"},
		"no minutes":        {nil, nil, "null"},
	} {
		here, results := newServer(t, nil)
		results.set(with(c.here...))
		far := instance(t, "job-b", with(c.far...))
		results.set(func(f *fakeResults) { f.peers = []Peer{far} })
		for _, path := range []string{"/v1/counts", "/v1/counts/users", "/v1/counts/pages"} {
			if _, body := get(t, here, "GET", path); !strings.Contains(body, `"watermark": `+c.want) || !strings.Contains(body, `"committed_at": null`) {
				t.Errorf("%s: %s: not %s:\n%s", name, path, c.want, body)
			}
		}
	}
}

// An instance that does not answer is named, and what is missing with it.
func TestAMissingInstanceIsSaid(t *testing.T) {
	gone := instance(t, "job-c", having())
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusTeapot) }))
	defer deaf.Close()
	garbled := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("{}x")) }))
	defer garbled.Close()
	here, results := newServer(t, func(o *Options) { o.Registerer = prometheus.NewRegistry() })
	results.set(having(partOf(0, 2, Count{"ana", 5})))
	results.set(func(f *fakeResults) {
		f.peers = []Peer{{"job-b", ""}, gone, {"job-d", strings.TrimPrefix(deaf.URL, "http://")}, {"job-e", strings.TrimPrefix(garbled.URL, "http://")}, {"job-f", "127.0.0.1:1"}}
	})
	_, body := get(t, here, "GET", "/v1/counts")
	var answer countsJSON
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if !answer.Partial || answer.Clicks != 5 || !slices.Equal(answer.MissingTasks, []record.Partition{1}) || len(answer.MissingInstances) != 4 {
		t.Errorf("%s", body)
	}
	for i, want := range []string{"told no address", "status 418", "cannot be read", "connection refused"} {
		if !strings.Contains(answer.MissingInstances[i].Reason, want) {
			t.Errorf("%+v does not say %q", answer.MissingInstances[i], want)
		}
	}
	if ok, failed, partial := testutil.ToFloat64(here.gatherer.asked.WithLabelValues("ok")), testutil.ToFloat64(here.gatherer.asked.WithLabelValues("failed")), testutil.ToFloat64(here.gatherer.partial); ok != 1 || failed != 4 || partial != 1 {
		t.Errorf("%v ok, %v failed, %v partial answers are counted", ok, failed, partial)
	}
	// The page and the rankings say it too.
	if _, body := get(t, here, "GET", "/v1/counts/users"); !strings.Contains(body, `"partial": true`) {
		t.Errorf("%s", body)
	}
	here.hub.mu.Lock()
	defer here.hub.mu.Unlock()
	if e, _ := here.hub.snapshotLocked(here.gatherer.gather(t.Context(), 1, time.Minute)); !strings.Contains(string(e.data), `"partial":true`) {
		t.Errorf("%s", e.data)
	}
}

// One that never answers costs the patience, no more, and a whole answer needs
// only those that have tasks.
func TestASilentInstanceIsWaitedForInVain(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(release)
	here, results := newServer(t, nil)
	peers := make([]Peer, 3*peersAtOnce)
	for i := range peers {
		peers[i] = Peer{fmt.Sprint("job-", i), strings.TrimPrefix(silent.URL, "http://")}
	}
	results.set(having(partOf(0, 1, Count{"ana", 5})))
	results.set(func(f *fakeResults) { f.peers = peers })
	w := here.gatherer.gather(t.Context(), 0, 50*time.Millisecond)
	if m := w.missing(w.users); m.Partial || len(w.failed) != len(peers) {
		t.Errorf("%d have failed, %+v", len(w.failed), m)
	}
}

// The question between instances is answered with what is here and asks nobody:
// two that take each other for peers, and one that takes itself for one, are no
// loop. What is there twice counts once.
func TestQuestionsDoNotGoRound(t *testing.T) {
	here, results := newServer(t, nil)
	server := httptest.NewServer(here.Handler())
	defer server.Close()
	results.set(having(partOf(0, 1, Count{"ana", 5})))
	results.set(func(f *fakeResults) {
		f.peers = []Peer{{"job-a", strings.TrimPrefix(server.URL, "http://")}, {"job-a again", strings.TrimPrefix(server.URL, "http://")}}
	})
	if _, body := get(t, here, "GET", "/v1/counts"); !strings.Contains(body, `"clicks": 5,`) || strings.Contains(body, "partial") {
		t.Errorf("%s", body)
	}
	for path, want := range map[string]int{"/v1/parts?top=0": 200, "/v1/parts": 400, "/v1/parts?top=1001": 400, "/v1/parts?top=-1": 400} {
		if response, body := get(t, here, "GET", path); response.StatusCode != want {
			t.Errorf("%s: %s %s", path, response.Status, body)
		}
	}
}

// The ranking of all is the first of each task's first, however names lie.
func TestMergedRankingsAreExact(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tasks, n := 1+rng.IntN(5), 1+rng.IntN(6)
		var everybody []Count
		lists := make([][]Count, tasks)
		for i := range 40 {
			c := Count{fmt.Sprintf("u%02d", i), rng.Int64N(9)}
			everybody = append(everybody, c)
			task := rng.IntN(tasks)
			lists[task] = append(lists[task], c)
		}
		var parts []Part
		for task, list := range lists {
			one := mergeParts([]Part{partOf(record.Partition(task), tasks, list...)}, n)
			p := partOf(record.Partition(task), tasks, one.top...)
			parts = append(parts, p, p) // as while it moves
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		got, want := mergeParts(parts, n), mergeParts([]Part{partOf(0, 1, everybody...)}, n)
		if !slices.Equal(got.top, want.top) {
			t.Fatalf("seed %d: %v, want %v", seed, got.top, want.top)
		}
	}
}

func TestTheOlderPositionIsShown(t *testing.T) {
	a := AsOf{
		Offsets:     map[record.Partition]record.Offset{0: 5, 1: 9, 2: 3},
		UpTo:        map[record.Partition]record.Offset{0: 5, 1: 9},
		CommittedAt: time.Unix(50, 0), Watermark: time.Unix(7, 0),
	}
	b := AsOf{
		Offsets: map[record.Partition]record.Offset{0: 8, 1: 7, 3: 4},
		UpTo:    map[record.Partition]record.Offset{0: 8, 3: 6},
	}
	for _, sum := range []AsOf{a.with(b), b.with(a)} {
		if got, want := fmt.Sprint(sum.Offsets, sum.UpTo), "map[0:5 1:7 2:3 3:4] map[0:8 3:6]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if !sum.CommittedAt.Equal(time.Unix(50, 0)) || !sum.Watermark.IsZero() {
			t.Errorf("%v %v", sum.CommittedAt, sum.Watermark)
		}
	}
	if got := compact(t, string(must(json.Marshal(asOf(a.with(b)), json.Deterministic(true))))); !strings.Contains(got, `"up_to":{"0":8,"1":null,"2":null,"3":6}`) {
		t.Error(got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
