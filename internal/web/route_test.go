package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A user's count that another instance has is asked for there, once.
func TestQuestionsAreRoutedToTheOwner(t *testing.T) {
	owner, _ := newServer(t, nil)
	far := httptest.NewServer(owner.Handler())
	defer far.Close()
	here, results := newServer(t, nil)
	results.set(func(f *fakeResults) {
		f.away = &Away{Endpoint: strings.TrimPrefix(far.URL, "http://"), Reason: "runs elsewhere"}
	})
	if response, body := get(t, here, "GET", "/v1/counts/users/nobody"); response.StatusCode != http.StatusNotFound || !strings.Contains(body, "E1301") {
		t.Errorf("%s %s", response.Status, body)
	}
	request := httptest.NewRequest("GET", "http://localhost/v1/counts/users/nobody", nil)
	request.Header.Set(routedHeader, "1")
	answer := httptest.NewRecorder()
	here.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("a question that was passed on is passed on again: %d", answer.Code)
	}
}

func TestWindowsOfAUser(t *testing.T) {
	s, _ := newServer(t, nil)
	for path, want := range map[string]string{
		"/v1/counts/users/ana/windows":                           `"window_start":"2026-01-15T10:31:00Z","window_end":"2026-01-15T10:32:00Z","clicks":3,"final":true`,
		"/v1/counts/users/ana/windows?size=1m":                   `"clicks":3`,
		"/v1/counts/users/ana/windows?from=2026-01-15T10:32:00Z": `"windows":[]`,
		"/v1/counts/users/ana/windows?to=2026-01-15T10:31:00Z":   `"windows":[]`,
		"/v1/counts/users/ana/windows?size=2m":                   `E1309`,
		"/v1/counts/users/ana/windows?from=noon":                 `E1309`,
	} {
		if _, body := get(t, s, "GET", path); !strings.Contains(squeeze(body), want) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// squeeze is JSON without white space.
func squeeze(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, `": `, `":`)), "")
}
