package main

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/record"
)

// started is a server or worker that runs inside the test.
type started struct {
	kafka, http string
	stop        func()
}

// startInside runs a command until stop, and waits for its ready line.
func startInside(t *testing.T, args ...string) started {
	t.Helper()
	stdout, ready := io.Pipe()
	talk := &lockedBuffer{}
	a := &app{stdin: strings.NewReader(""), stdout: ready, stderr: talk, getenv: func(string) (string, bool) { return "", false }}
	ctx, cancel := context.WithCancel(t.Context())
	exited := make(chan int, 1)
	go func() {
		exited <- a.run(ctx, append(args, "--http-addr", ":0", "--data-dir", t.TempDir()))
		_ = ready.Close() // never fails on a pipe
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: no ready line: %v\n%s", args, err, talk)
	}
	field := func(name string) string {
		_, value, _ := strings.Cut(strings.TrimSpace(line), name+"=")
		value, _, _ = strings.Cut(value, " ")
		return value
	}
	s := started{kafka: field("kafka"), http: field("http")}
	s.stop = func() {
		cancel()
		if code := <-exited; code != exitDone {
			t.Errorf("%v ended with exit code %d:\n%s", args, code, talk)
		}
	}
	return s
}

// shownCounts is what the test reads of answers.
type shownCounts struct {
	UserID  string     `json:"user_id"`
	Clicks  int64      `json:"clicks"`
	Users   any        `json:"users"`
	Partial bool       `json:"partial"`
	AsOf    asOfJSON   `json:"as_of"`
	Top     []userLine `json:"top_users"`
}

// ask reads an answer; ok is false while the instance says that it has none.
func (s started) ask(t *testing.T, path string) (shown shownCounts, ok bool) {
	t.Helper()
	response, err := http.Get(s.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return shown, false
	}
	if err := json.Unmarshal(body, &shown); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return shown, true
}

// untilTrue calls f until it is content, for two minutes at most.
func untilTrue(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// TestAnyInstanceShowsTheWholeJob runs two instances on one broker while clicks
// flow. Each count of a user, from whichever instance, must be that of the input
// up to its as_of, and totals lie between those of the bounds that they name.
func TestAnyInstanceShowsTheWholeJob(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	first := startInside(t, "serve", "--demo", "--demo-rate", "1000", "--kafka-addr", ":0", "--default-partitions", "4")
	defer first.stop()
	second := startInside(t, "run", "--brokers", first.kafka)
	stopped := false
	defer func() {
		if !stopped {
			second.stop()
		}
	}()
	instances := []started{first, second}
	untilTrue(t, "both instances have tasks, and each shows all", func() bool {
		for _, i := range instances {
			var own struct {
				Users []struct{ Task int } `json:"users"`
			}
			response, err := http.Get(i.http + "/v1/parts?top=0")
			if err != nil {
				t.Fatal(err)
			}
			err = json.UnmarshalRead(response.Body, &own)
			_ = response.Body.Close() // it is read
			if all, ok := i.ask(t, "/v1/counts"); err != nil || len(own.Users) == 0 || len(own.Users) == 4 || !ok || all.Partial || all.Clicks == 0 {
				return false
			}
		}
		return true
	})

	users, totals := sample(t, instances)
	input := readInput(t, first.kafka, furthest(append(slices.Clone(users), totals...)))
	for _, s := range users {
		if want := count(input, s.UserID, s.AsOf.Offsets); s.Clicks != want {
			t.Errorf("%s is said to have clicked %d times as of %v: there %d clicks are", s.UserID, s.Clicks, s.AsOf.Offsets, want)
		}
		if len(s.AsOf.UpTo) > 0 {
			t.Errorf("the count of %s as of %v may reach up to %v", s.UserID, s.AsOf.Offsets, s.AsOf.UpTo)
		}
	}
	for _, s := range totals {
		ends := maps.Clone(s.AsOf.Offsets)
		for p, end := range s.AsOf.UpTo {
			ends[p] = *end
		}
		if low, high := count(input, "", s.AsOf.Offsets), count(input, "", ends); s.Clicks < low || s.Clicks > high {
			t.Errorf("%d clicks in all: from %d to %d were expected as of %v, up to %v", s.Clicks, low, high, s.AsOf.Offsets, ends)
		}
	}
	checkLive(t, second)

	second.stop()
	stopped = true
	untilTrue(t, "the instance that is left shows all", func() bool {
		all, ok := first.ask(t, "/v1/counts")
		return ok && !all.Partial && all.Clicks > totals[len(totals)-1].Clicks
	})
}

// sample asks both instances in turn, while counts change.
func sample(t *testing.T, instances []started) (users, totals []shownCounts) {
	t.Helper()
	i := -1
	untilTrue(t, "answers of both instances", func() bool {
		i++
		from := instances[i%2]
		var ranking struct {
			Users []userLine `json:"users"`
		}
		response, err := http.Get(from.http + "/v1/counts/users?limit=5")
		if err != nil {
			t.Fatal(err)
		}
		err = json.UnmarshalRead(response.Body, &ranking)
		_ = response.Body.Close() // it is read
		if err != nil {
			t.Fatal(err)
		}
		if len(ranking.Users) > 0 {
			if one, ok := instances[(i/2)%2].ask(t, "/v1/counts/users/"+url.PathEscape(ranking.Users[i%len(ranking.Users)].UserID)); ok {
				users = append(users, one)
			}
		}
		if all, ok := from.ask(t, "/v1/counts"); ok && !all.Partial {
			totals = append(totals, all)
		}
		return len(users) >= 60 && len(totals) >= 20
	})
	return users, totals
}

// furthest is per partition the greatest offset that an answer names.
func furthest(all []shownCounts) map[string]record.Offset {
	far := make(map[string]record.Offset)
	for _, s := range all {
		for p, next := range s.AsOf.Offsets {
			far[p] = max(far[p], next)
		}
		for p, end := range s.AsOf.UpTo {
			far[p] = max(far[p], *end)
		}
	}
	return far
}

// readInput is the users of click_events by partition and offset, up to far.
func readInput(t *testing.T, kafka string, far map[string]record.Offset) map[string]map[record.Offset]string {
	t.Helper()
	consumer, err := client.NewConsumer(client.Config{Brokers: []string{kafka}}, client.Subscription{Topics: []record.Topic{clicks.Topic}})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	input := make(map[string]map[record.Offset]string)
	reached := make(map[string]record.Offset)
	short := func() bool {
		for p, next := range far {
			if reached[p] < next {
				return true
			}
		}
		return false
	}
	for short() {
		batches, err := consumer.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			p := fmt.Sprint(b.Partition)
			if input[p] == nil {
				input[p] = make(map[record.Offset]string)
			}
			for _, r := range b.Records {
				var click struct {
					User string `json:"user_id"`
				}
				if err := json.Unmarshal(r.Value, &click); err != nil {
					t.Fatal(err)
				}
				input[p][r.Offset] = click.User
			}
			reached[p] = b.Next
		}
	}
	return input
}

// count is by hand how often a user, or anybody, clicked below some offsets.
func count(input map[string]map[record.Offset]string, user string, below map[string]record.Offset) (n int64) {
	for p, next := range below {
		for offset, who := range input[p] {
			if offset < next && (user == "" || who == user) {
				n++
			}
		}
	}
	return n
}

// checkLive wants a snapshot of the whole job from an instance that has a part.
func checkLive(t *testing.T, from started) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.http+"/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	before, ok := from.ask(t, "/v1/counts")
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s shownCounts
		text, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if ok && !s.Partial && s.Clicks > before.Clicks && len(s.Top) > 0 {
			return
		}
	}
	t.Errorf("the stream ended without a snapshot of all: %v", lines.Err())
}
