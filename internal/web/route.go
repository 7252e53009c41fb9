package web

import (
	"io"
	"net/http"
	"net/url"
	"time"
)

// routedHeader marks a question that another instance has passed on: it is
// answered here or not at all, so that two instances that take each other for
// the owner do not pass it on for ever.
const routedHeader = "Millrace-Routed"

// routePatience bounds how long another instance may take.
const routePatience = 3 * time.Second

// maxRoutedBytes bounds another instance's answer.
const maxRoutedBytes = 4 << 20

// elsewhere answers a question about a user whose counts another instance has: it
// asks that one and passes the answer on.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request, away Away) {
	if away.Endpoint == "" || r.Header.Get(routedHeader) != "" {
		problemAway(away).write(w)
		return
	}
	target := url.URL{Scheme: "http", Host: away.Endpoint, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target.String(), nil)
	if err != nil {
		problemAway(Away{Reason: err.Error()}).write(w)
		return
	}
	question.Header.Set(routedHeader, "1")
	answer, err := s.gatherer.client.Do(question)
	s.gatherer.count(err)
	if err != nil {
		problemAway(Away{Reason: "the instance that has the counts does not answer: " + err.Error()}).write(w)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	if wait := answer.Header.Get("Retry-After"); wait != "" {
		w.Header().Set("Retry-After", wait)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(answer.Body, maxRoutedBytes)) // the reader is gone: nobody to tell
}
