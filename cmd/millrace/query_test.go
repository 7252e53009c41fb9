package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// answering is the HTTP address of a server that gives the same answer to all.
func answering(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	t.Cleanup(s.Close)
	return s.URL
}

const asOfNothing = `"as_of":{"offsets":{},"watermark":null,"committed_at":"2026-01-15T10:31:09Z"}`

// What an answer lacks is said, in words and in each line of its JSON forms, also
// when there is not one line.
func TestAPartialAnswerSaysSo(t *testing.T) {
	const lacks = `"partial":true,"missing_instances":[{"instance":"job-b","endpoint":"","reason":"it has told no address of its own"}],"missing_tasks":[1,3]`
	const words = "this answer is partial, and counts can be too low: what instance job-b at an unknown address: it has told no address of its own; tasks [1 3] would add is missing"
	for _, c := range []struct {
		body string
		args []string
		json string // in stdout
	}{
		{`{"users":[{"user_id":"ana","clicks":5}],` + asOfNothing + `,` + lacks + `}`, []string{"--top", "3"}, `"user_id":"ana","clicks":5,` + asOfNothing + `,` + lacks},
		{`{"pages":[{"page":"/","clicks":5}],` + asOfNothing + `,` + lacks + `}`, []string{"--top", "3", "--by", "page"}, `"page":"/","clicks":5,` + asOfNothing + `,` + lacks},
		{`{"users":[],` + asOfNothing + `,` + lacks + `}`, []string{"--top", "3"}, ""},
	} {
		args := append([]string{"query", "-o", "jsonl", "--http", answering(t, c.body)}, c.args...)
		if r := call(t, "", nil, args...); r.code != exitDone || !strings.Contains(r.stdout, c.json) || strings.TrimSpace(r.stderr) != words {
			t.Errorf("%q: %d\n%s\n%s", args, r.code, r.stdout, r.stderr)
		}
	}
	whole := answering(t, `{"users":[{"user_id":"ana","clicks":5}],`+asOfNothing+`}`)
	if r := call(t, "", nil, "query", "--top", "3", "-o", "jsonl", "--http", whole); r.stderr != "" || strings.Contains(r.stdout, "partial") {
		t.Errorf("a whole answer:\n%s\n%s", r.stdout, r.stderr)
	}
}

// Users whose name means something in a path are asked for by their name, and an
// answer about another one is none.
func TestAnyUserCanBeAskedFor(t *testing.T) {
	const unseen = `{"type":"x","status":404,"code":"E1301","detail":"nobody","fix":"x"}`
	var asked atomic.Pointer[string]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/counts/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		asked.Store(&id)
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(unseen))
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	for _, user := range []string{".", "..", "a/b", "a b?c#d%2F", "ana%", "häß 🎉", "\x00", "."} {
		asked.Store(nil)
		r := call(t, "", nil, "query", "--http", s.URL, "--", user)
		if got := asked.Load(); got == nil || *got != user || r.code != exitNotFound {
			t.Errorf("%q: %d %s", user, r.code, r.stderr)
		}
	}
	other := answering(t, `{"user_id":"bob","clicks":5,`+asOfNothing+`}`)
	if r := call(t, "", nil, "query", "ana", "--http", other); r.code != exitFailed || !strings.Contains(r.stderr, "E1503") || r.stdout != "" {
		t.Errorf("an answer about bob: %d %s%s", r.code, r.stdout, r.stderr)
	}
	for _, args := range [][]string{{""}, {"ana", "--by", "page"}} {
		if r := call(t, "", nil, append([]string{"query"}, args...)...); r.code != exitUsage {
			t.Errorf("%q: %d %s", args, r.code, r.stderr)
		}
	}
}

// A click that was acknowledged just now is counted a moment later: the question
// is put again, and the answer comes; with --watch however long it takes.
func TestAQueryWaitsForAClickThatWasJustSent(t *testing.T) {
	var asked atomic.Int64
	var live atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/counts/users/ana", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"code":"E1301","detail":"no click of user \"ana\" was counted","fix":"x"}`))
			return
		}
		_, _ = w.Write([]byte(`{"user_id":"ana","clicks":1,` + asOfNothing + `}`))
	})
	mux.HandleFunc("GET /v1/live", func(w http.ResponseWriter, _ *http.Request) {
		if live.Add(1) > 1 { // the end of the watch
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"E1306","detail":"enough","fix":"x"}`))
			return
		}
		_, _ = w.Write([]byte(strings.Repeat("data: {}\n\n", 4)))
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	if r := call(t, "", nil, "query", "ana", "-o", "table", "--http", s.URL); r.code != exitDone || r.stdout != "USER  CLICKS\nana   1\n" || asked.Load() != 3 {
		t.Errorf("%d after %d questions: %s%s", r.code, asked.Load(), r.stdout, r.stderr)
	}
	asked.Store(0)
	r := call(t, "", nil, "query", "ana", "--watch", "-o", "table", "--http", s.URL)
	if r.stdout != "USER  CLICKS\nana   1\n" || strings.Count(r.stderr, "waiting for the first") != 1 || !strings.Contains(r.stderr, "E1306") {
		t.Errorf("--watch: %s%s", r.stdout, r.stderr)
	}
	asked.Store(-1000)
	if r := call(t, "", nil, "query", "ana", "--http", s.URL); r.code != exitNotFound || asked.Load() != askAgain-1000 {
		t.Errorf("a user who never clicked: %d after %d questions", r.code, asked.Load()+1000)
	}
}
