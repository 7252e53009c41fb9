package web

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"net/http"
)

// problem is an RFC 9457 answer: what happened (detail), how to go on (fix), and
// a code with a line in docs/errors.md.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`

	retryAfterSeconds int
	allow             string
}

func newProblem(status int, code, title, detail, fix string) problem {
	return problem{Type: "urn:millrace:error:" + code, Title: title, Status: status, Code: code, Detail: detail, Fix: fix}
}

func (p problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p, jsontext.WithIndent("  "))
	if err != nil {
		body = []byte(`{"title":"the problem could not be described"}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retryAfterSeconds > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(p.retryAfterSeconds))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the reader is gone: nobody to tell
}

func problemUnknownUser(id string) problem {
	return newProblem(http.StatusNotFound, "E1301", "user not found",
		fmt.Sprintf("no click of user %q was counted", clip(id)),
		"check the spelling, or see who was counted: /v1/counts/users?limit=10")
}

func problemAway(a Away) problem {
	p := newProblem(http.StatusServiceUnavailable, "E1302", "count not here now", a.Reason,
		"ask again: counts come back when the job has restored or moved them; /readyz shows how far it is")
	p.retryAfterSeconds = 1
	return p
}

func problemBadWindow(name, text, fix string) problem {
	return newProblem(http.StatusBadRequest, "E1309", "bad window", fmt.Sprintf("%s is %q", name, clip(text)), fix)
}

func problemBadLimit(limit string) problem {
	return newProblem(http.StatusBadRequest, "E1303", "bad limit",
		fmt.Sprintf("limit is %q", clip(limit)), fmt.Sprintf("use a number from 1 to %d", MaxLimit))
}

func problemUnknownPath(path string) problem {
	return newProblem(http.StatusNotFound, "E1304", "no such path",
		fmt.Sprintf("nothing is served at %q", clip(path)),
		"try /, /v1/counts, /v1/counts/users?limit=10, /v1/counts/users/{id}, /v1/counts/users/{id}/windows, /v1/counts/pages, /v1/dead-letters, /v1/jobs, /v1/jobs/{job}, /v1/live, /healthz, /readyz or /metrics")
}

func problemMethod(method string) problem {
	p := newProblem(http.StatusMethodNotAllowed, "E1305", "method not allowed",
		fmt.Sprintf("%s is not served here: this interface only reads", clip(method)), "use GET; send clicks to the Kafka address")
	p.allow = "GET, HEAD"
	return p
}

func problemTooManyStreams() problem {
	p := newProblem(http.StatusServiceUnavailable, "E1306", "too many streams",
		fmt.Sprintf("%d event streams are open, which is the limit", MaxStreams), "close one, or ask /v1/counts instead")
	p.retryAfterSeconds = 5
	return p
}

func problemForeignHost(host string) problem {
	return newProblem(http.StatusMisdirectedRequest, "E1307", "foreign host",
		fmt.Sprintf("the request names the host %q, but this server is for this machine only", clip(host)),
		"use http://localhost:PORT; to serve other machines start with --http-addr ADDRESS:PORT and --insecure-allow-anonymous")
}

// clip keeps a user's own words short in an answer.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
