package web

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"millrace/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeResults are answers that a test sets.
type fakeResults struct {
	mu      sync.Mutex
	clicks  int64
	ready   bool
	away    *Away
	waiting string
	fix     string
	brokers bool
	peers   []Peer
	parts   func(top int) Parts // instead of the usual ones
}

func (f *fakeResults) set(change func(*fakeResults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeResults) asOf() AsOf {
	offsets := map[record.Partition]record.Offset{0: 7, 10: 5, 2: 1}
	return AsOf{
		Offsets:     offsets,
		UpTo:        offsets,
		Watermark:   time.Date(2026, 1, 15, 10, 31, 9, 120e6, time.UTC),
		CommittedAt: time.Date(2026, 1, 15, 10, 31, 10, 0, time.UTC),
	}
}

func (f *fakeResults) Parts(top int) Parts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts != nil {
		return f.parts(top)
	}
	users := []Count{{"ana", 8}, {"<script>alert(1)</script>", 4}}
	pages := []Count{{"/", 12}}
	return Parts{
		Users:       []Part{{Tasks: 1, Clicks: f.clicks, Names: 2, Top: users[:min(top, 2)], AsOf: f.asOf()}},
		Pages:       []Part{{Tasks: 1, Clicks: f.clicks, DemoClicks: 3, Names: 1, Top: pages[:min(top, 1)], AsOf: f.asOf()}},
		DeadLetters: 1,
		Progress:    f.progress(),
	}
}

func (f *fakeResults) Peers() []Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peers
}

func (f *fakeResults) User(id string) UserCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id == "ana" || id == "a/b c" {
		return UserCount{Clicks: 8, Known: true, AsOf: f.asOf()}
	}
	if f.away != nil {
		return UserCount{Away: f.away}
	}
	return UserCount{AsOf: f.asOf()}
}

func (f *fakeResults) Windows(id string, from, to time.Time) UserWindows {
	start := time.Date(2026, 1, 15, 10, 31, 0, 0, time.UTC)
	if start.Before(from) || !to.IsZero() && !start.Before(to) {
		return UserWindows{AsOf: f.asOf()}
	}
	return UserWindows{Windows: []Window{{start, start.Add(time.Minute), 3, true}}, AsOf: f.asOf()}
}

func (f *fakeResults) DeadLetters(n int) DeadLetters {
	letter := DeadLetter{
		TopicPartition: record.TopicPartition{Topic: "click_events", Partition: 2}, Offset: 17,
		Timestamp: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), Reason: "bad_user_id", Detail: "user_id is null",
	}
	return DeadLetters{Newest: []DeadLetter{letter}[:min(n, 1)], Total: 1, ByReason: map[string]int64{"bad_user_id": 1}}
}

func (f *fakeResults) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress()
}

func (f *fakeResults) progress() Progress {
	return Progress{Ready: f.ready, Counted: 40, Of: 120, Waiting: f.waiting, Fix: f.fix, Brokers: f.brokers}
}

func newServer(t *testing.T, change func(*Options)) (*Server, *fakeResults) {
	t.Helper()
	results := &fakeResults{clicks: 12, ready: true}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_test_total", Help: "A counter."}))
	o := Options{Results: results, Gatherer: registry, LoopbackOnly: true, Version: "test", Source: "a test", KafkaAddr: "localhost:9092"}
	if change != nil {
		change(&o)
	}
	s := New(o)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, results
}

func get(t *testing.T, s *Server, method, target string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost:8080"+target, nil)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// compact is a JSON text without blanks, so that a test can spell it on a line.
func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const asOfText = `"as_of":{"committed_at":"2026-01-15T10:31:10Z","offsets":{"0":7,"10":5,"2":1},"watermark":"2026-01-15T10:31:09.12Z"}`

func TestAnswers(t *testing.T) {
	s, _ := newServer(t, nil)
	for path, want := range map[string]string{
		"/v1/counts":                 `{` + asOfText + `,"clicks":12,"dead_letters":1,"demo_clicks":3,"pages":1,"users":2}`,
		"/v1/counts/users/ana":       `{` + asOfText + `,"clicks":8,"user_id":"ana"}`,
		"/v1/counts/users/a%2Fb%20c": `{` + asOfText + `,"clicks":8,"user_id":"a/b c"}`,
		"/v1/counts/users?limit=1":   `{` + asOfText + `,"users":[{"clicks":8,"user_id":"ana"}]}`,
		"/v1/counts/pages":           `{` + asOfText + `,"pages":[{"clicks":12,"page":"/"}]}`,
		"/v1/dead-letters": `{"by_reason":{"bad_user_id":1},"dead_letters":[{"detail":"user_id is null","offset":17,` +
			`"partition":2,"reason":"bad_user_id","timestamp":"2026-01-15T00:00:00Z","topic":"click_events"}],"total":1}`,
		"/healthz": `{"status":"ok","version":"test"}`,
		"/readyz":  `{"progress":{"counted":40,"of":120,"percent":100},"ready":true}`,
	} {
		response, body := get(t, s, "GET", path)
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s", path, response.Status, response.Header.Get("Content-Type"))
		}
		if got := compact(t, body); got != want {
			t.Errorf("%s\n got %s\nwant %s", path, got, want)
		}
	}
}

func TestProblems(t *testing.T) {
	s, results := newServer(t, nil)
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v1/counts/users/nobody", 404, "E1301"},
		{"GET", "/v1/counts/users?limit=0", 400, "E1303"},
		{"GET", "/v1/counts/pages?limit=1001", 400, "E1303"},
		{"GET", "/v1/dead-letters?limit=ten", 400, "E1303"},
		{"GET", "/v1/nothing", 404, "E1304"},
		{"GET", "/v1/counts/users/", 404, "E1304"},
		{"POST", "/v1/counts", 405, "E1305"},
		{"DELETE", "/", 405, "E1305"},
	} {
		response, body := get(t, s, test.method, test.path)
		var p problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatalf("%s %s: %v in %s", test.method, test.path, err, body)
		}
		if response.StatusCode != test.status || p.Status != test.status || p.Code != test.code || p.Detail == "" || p.Fix == "" {
			t.Errorf("%s %s: %s %+v", test.method, test.path, response.Status, p)
		}
		if got := response.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s %s: content type %s", test.method, test.path, got)
		}
	}
	results.set(func(f *fakeResults) { f.away = &Away{Reason: "is being restored"} })
	if response, body := get(t, s, "GET", "/v1/counts/users/nobody"); response.StatusCode != 503 || !strings.Contains(body, "E1302") {
		t.Errorf("a user who is restored: %s %s", response.Status, body)
	}
}

func TestReadyShowsProgress(t *testing.T) {
	s, results := newServer(t, nil)
	results.set(func(f *fakeResults) { f.ready = false })
	response, body := get(t, s, "GET", "/readyz")
	if response.StatusCode != 503 || !strings.Contains(compact(t, body), `"progress":{"counted":40,"of":120,"percent":33.3},"ready":false`) {
		t.Errorf("%s %s", response.Status, body)
	}
	results.set(func(f *fakeResults) { f.waiting = "no broker" })
	if _, body := get(t, s, "GET", "/readyz"); !strings.Contains(body, "no broker") {
		t.Errorf("the reason is missing: %s", body)
	}
	results.set(func(f *fakeResults) { f.fix = "reset it" })
	if response, body := get(t, s, "GET", "/readyz"); response.StatusCode != 503 || !strings.Contains(body, `"code": "E1310"`) || !strings.Contains(body, `"fix": "reset it"`) {
		t.Errorf("what does not pass by itself: %s", body)
	}
	if _, body := get(t, s, "GET", "/v1/counts"); !strings.Contains(body, `"fix": "reset it"`) {
		t.Errorf("the counts do not say it: %s", body)
	}
	results.set(func(f *fakeResults) { f.fix, f.brokers = "make room", true })
	if response, body := get(t, s, "GET", "/readyz"); response.StatusCode != 503 || !strings.Contains(body, `"code": "E1311"`) || !strings.Contains(body, `"fix": "make room"`) || !strings.Contains(body, "by itself") {
		t.Errorf("what passes when the brokers are well: %s", body)
	}
}

func TestForeignHostsAreRefused(t *testing.T) {
	for host, welcome := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1:1": true, "[::1]:8080": true, "[::1]": true, "127.9.9.9": true,
		"evil.example": false, "localhost.evil.example:8080": false, "10.0.0.1:8080": false, "": false, "[": false, "0.0.0.0:8080": false,
	} {
		for _, loopbackOnly := range []bool{true, false} {
			s, _ := newServer(t, func(o *Options) { o.LoopbackOnly = loopbackOnly })
			r := httptest.NewRequest("GET", "/v1/counts", nil)
			r.Host = host
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			want := http.StatusOK
			if loopbackOnly && !welcome {
				want = http.StatusMisdirectedRequest
			}
			if w.Code != want {
				t.Errorf("host %q, loopback only %v: %d, want %d", host, loopbackOnly, w.Code, want)
			}
		}
	}
}

func TestPageIsLockedDown(t *testing.T) {
	s, _ := newServer(t, nil)
	response, body := get(t, s, "GET", "/")
	policy := response.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'", "connect-src 'self'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers are %v", response.Header)
	}
	for _, forbidden := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://localhost", " style=", " onclick"} {
		if strings.Contains(body, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
	if strings.Count(body, "<style") != 1 || strings.Count(body, "<script") != 1 {
		t.Error("the policy hashes one style and one script: the page has others")
	}
}

func TestMetricsAreServed(t *testing.T) {
	s, _ := newServer(t, nil)
	if _, body := get(t, s, "GET", "/metrics"); !strings.Contains(body, "millrace_test_total 0") {
		t.Errorf("got %s", body)
	}
}

// serve starts s on a free port and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type streamReader struct {
	lines *bufio.Scanner
}

func openStream(t *testing.T, addr string) streamReader {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + addr + "/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("content type %s", got)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return streamReader{lines}
}

// next is the next snapshot and its id.
func (s streamReader) next(t *testing.T) (id string, snapshot snapshotJSON) {
	t.Helper()
	for s.lines.Scan() {
		if text, ok := strings.CutPrefix(s.lines.Text(), "id: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(text), &snapshot); err != nil {
				t.Fatal(err)
			}
			return id, snapshot
		}
	}
	t.Fatalf("the stream ended: %v", s.lines.Err())
	return "", snapshot
}

func TestLiveStreamsWhatChanges(t *testing.T) {
	s, results := newServer(t, nil)
	events := openStream(t, serve(t, s))
	id, first := events.next(t)
	if first.Clicks != 12 || len(first.TopUsers) != 2 || len(first.PerSecond) != historySeconds || !first.Ready {
		t.Errorf("the first snapshot is %+v", first)
	}
	results.set(func(f *fakeResults) { f.clicks = 13 })
	nextID, second := events.next(t)
	if second.Clicks != 13 || nextID == id {
		t.Errorf("the second snapshot, %s after %s, is %+v", nextID, id, second)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s, _ := newServer(t, nil)
	for range MaxStreams {
		if _, ok := s.hub.subscribe(t.Context()); !ok {
			t.Fatal("refused too early")
		}
	}
	response, body := get(t, s, "GET", "/v1/live")
	if response.StatusCode != 503 || !strings.Contains(body, "E1306") || response.Header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %s %s", response.Status, body)
	}
}

// TestSlowSubscriberGetsTheNewest runs on a fake clock: a reader that sleeps
// skips snapshots and never holds the others up.
func TestSlowSubscriberGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &fakeResults{ready: true}
		h := newHub(Options{Results: results, Now: time.Now}, newGatherer(Options{Results: results, Now: time.Now}))
		defer h.close()
		slow, _ := h.subscribe(t.Context())
		for i := range 100 {
			results.set(func(f *fakeResults) { f.clicks = int64(i) })
			time.Sleep(tick)
		}
		synctest.Wait()
		if e := <-slow; !strings.Contains(string(e.data), `"clicks":99,`) {
			t.Errorf("the slow reader got %s", e.data)
		}
		h.unsubscribe(slow)
	})
}

func TestQuietResultsSendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Results: &fakeResults{ready: true}, Now: time.Now}
		h := newHub(o, newGatherer(o))
		defer h.close()
		subscriber, _ := h.subscribe(t.Context())
		<-subscriber
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(subscriber) != 0 {
			t.Errorf("nothing changed, but: %s", (<-subscriber).data)
		}
	})
}

func TestRate(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var r rate
	clicks := int64(0)
	run := func(from, seconds int, perTick int64, ready bool) {
		for i := range seconds * 4 {
			clicks += perTick
			r.observe(start.Add(time.Duration(from)*time.Second+time.Duration(i)*tick), clicks, ready)
		}
	}
	run(0, 10, 1000, false)
	if r.perSecond() != 0 {
		t.Errorf("counting the log again shows as %v clicks per second", r.perSecond())
	}
	run(10, 10, 50, true)
	if got := r.perSecond(); got != 200 {
		t.Errorf("50 clicks per tick are %v per second, want 200", got)
	}
	run(80, 1, 0, true) // nobody looked for a minute
	if got := fmt.Sprint(r.history()[historySeconds-3:]); got != "[0 0 0]" || r.perSecond() != 0 {
		t.Errorf("after a silent minute the history ends with %s", got)
	}
	clicks = 0
	run(81, 1, 0, true)
	run(82, 10, 5, true)
	if got := r.perSecond(); got != 20 {
		t.Errorf("after a new count: %v per second, want 20", got)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s, _ := newServer(t, nil)
	s.slots = make(chan struct{}, 2)
	addr := serve(t, s)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ask := func(conn net.Conn) *bufio.Reader {
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		return bufio.NewReader(conn)
	}
	first, second := dial(), dial()
	for _, conn := range []net.Conn{first, second} {
		if line, err := ask(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q %v", line, err)
		}
	}
	third := dial()
	answer := ask(third)
	if err := third.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if line, err := answer.ReadString('\n'); err == nil {
		t.Fatalf("a connection above the bound was answered: %q", line)
	}
	first.Close()
	if err := third.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("after one closed: %q %v", line, err)
	}
}

func TestSlowHeadersLoseTheirConnection(t *testing.T) {
	s, _ := newServer(t, nil)
	s.http.ReadHeaderTimeout = 50 * time.Millisecond
	conn, err := net.Dial("tcp", serve(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HT")
	if err := conn.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the server did not hang up: %v", err)
	}
}
