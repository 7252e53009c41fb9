package web

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"millrace/record"
)

// The answers' shapes. Their names are a promise: change one only with an entry
// in the changelog.
type (
	asOfJSON struct {
		Offsets     map[string]record.Offset  `json:"offsets"`
		UpTo        map[string]*record.Offset `json:"up_to,omitempty"` // where it is not as Offsets; null: not known
		Watermark   *time.Time                `json:"watermark"`
		CommittedAt *time.Time                `json:"committed_at"` // null: there was no commit since the start
	}
	countsJSON struct {
		Clicks      int64         `json:"clicks"`
		Users       int64         `json:"users"`
		Pages       int64         `json:"pages"`
		DeadLetters int64         `json:"dead_letters"`
		DemoClicks  int64         `json:"demo_clicks"`
		AsOf        asOfJSON      `json:"as_of"`
		Restoring   *progressJSON `json:"restoring,omitempty"` // while some counts are not here yet
		missingJSON
	}
	// missingJSON is empty in an answer that holds all there is.
	missingJSON struct {
		Partial          bool               `json:"partial,omitzero"`
		MissingInstances []instanceJSON     `json:"missing_instances,omitempty"`
		MissingTasks     []record.Partition `json:"missing_tasks,omitempty"`
	}
	instanceJSON struct {
		Instance string `json:"instance"`
		Endpoint string `json:"endpoint"`
		Reason   string `json:"reason"`
	}
	userJSON struct {
		UserID string `json:"user_id"`
		Clicks int64  `json:"clicks"`
	}
	windowJSON struct {
		Start  time.Time `json:"window_start"`
		End    time.Time `json:"window_end"`
		Clicks int64     `json:"clicks"`
		Final  bool      `json:"final"`
	}
	pageJSON struct {
		Page   string `json:"page"`
		Clicks int64  `json:"clicks"`
	}
	deadLetterJSON struct {
		Topic     record.Topic     `json:"topic"`
		Partition record.Partition `json:"partition"`
		Offset    record.Offset    `json:"offset"`
		Timestamp *time.Time       `json:"timestamp"`
		Reason    string           `json:"reason"`
		Detail    string           `json:"detail"`
	}
	progressJSON struct {
		Counted int64   `json:"counted"`
		Of      int64   `json:"of"`
		Percent float64 `json:"percent"`
		Waiting string  `json:"waiting,omitempty"`
		Fix     string  `json:"fix,omitempty"`
		Brokers bool    `json:"brokers,omitzero"` // see Progress
	}
)

func asOf(a AsOf) asOfJSON {
	out := asOfJSON{Offsets: make(map[string]record.Offset, len(a.Offsets)), CommittedAt: known(a.CommittedAt)}
	for p, next := range a.Offsets {
		name := strconv.Itoa(int(p))
		out.Offsets[name] = next
		end, isKnown := a.UpTo[p]
		if isKnown && end == next {
			continue
		}
		if out.UpTo == nil {
			out.UpTo = make(map[string]*record.Offset)
		}
		if out.UpTo[name] = nil; isKnown {
			out.UpTo[name] = &end
		}
	}
	out.Watermark = known(a.Watermark)
	return out
}

// known is t in UTC, or nil, which is null, when there is none.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func countsOf(w whole) countsJSON {
	c := countsJSON{
		Clicks: w.users.clicks, Users: w.users.names, Pages: w.pages.names,
		DeadLetters: w.deadLetters, DemoClicks: w.pages.demoClicks, AsOf: asOf(w.asOf(w.users, w.pages)),
		missingJSON: w.missing(w.users, w.pages),
	}
	if !w.users.computed() {
		c.Clicks = w.pages.clicks
	}
	if !w.progress.Ready {
		restoring := progressOf(w.progress)
		c.Restoring = &restoring
	}
	return c
}

func usersOf(counts []Count) []userJSON {
	users := make([]userJSON, len(counts))
	for i, c := range counts {
		users[i] = userJSON{UserID: c.Name, Clicks: c.Clicks}
	}
	return users
}

func pagesOf(counts []Count) []pageJSON {
	pages := make([]pageJSON, len(counts))
	for i, c := range counts {
		pages[i] = pageJSON{Page: c.Name, Clicks: c.Clicks}
	}
	return pages
}

func progressOf(p Progress) progressJSON {
	out := progressJSON{Counted: p.Counted, Of: p.Of, Waiting: p.Waiting, Fix: p.Fix, Brokers: p.Brokers}
	switch {
	case p.Ready:
		out.Percent = 100
	case p.Of > 0:
		out.Percent = float64(p.Counted*1000/p.Of) / 10
	}
	return out
}

func (s *Server) counts(w http.ResponseWriter, r *http.Request) {
	s.answer(w, http.StatusOK, countsOf(s.gatherer.gather(r.Context(), 0, routePatience)))
}

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	user := s.options.Results.User(id)
	switch {
	case user.Away != nil:
		s.elsewhere(w, r, *user.Away)
	case user.Known:
		s.answer(w, http.StatusOK, struct {
			userJSON
			AsOf asOfJSON `json:"as_of"`
		}{userJSON{id, user.Clicks}, asOf(user.AsOf)})
	default:
		problemUnknownUser(id).write(w)
	}
}

// windows answers with one user's clicks per minute, ?from= and ?to= in RFC 3339.
func (s *Server) windows(w http.ResponseWriter, r *http.Request) {
	id, query := r.PathValue("id"), r.URL.Query()
	if size := query.Get("size"); size != "" && size != "1m" {
		problemBadWindow("size", size, "use size=1m, or leave it away").write(w)
		return
	}
	var bounds [2]time.Time
	for i, name := range []string{"from", "to"} {
		if text := query.Get(name); text != "" {
			var err error
			if bounds[i], err = time.Parse(time.RFC3339, text); err != nil {
				problemBadWindow(name, text, "use a time such as 2026-01-15T10:31:00Z").write(w)
				return
			}
		}
	}
	user := s.options.Results.Windows(id, bounds[0], bounds[1])
	if user.Away != nil {
		s.elsewhere(w, r, *user.Away)
		return
	}
	windows := make([]windowJSON, len(user.Windows))
	for i, win := range user.Windows {
		windows[i] = windowJSON{win.Start.UTC(), win.End.UTC(), win.Clicks, win.Final}
	}
	s.answer(w, http.StatusOK, struct {
		UserID  string       `json:"user_id"`
		Windows []windowJSON `json:"windows"`
		AsOf    asOfJSON     `json:"as_of"`
	}{id, windows, asOf(user.AsOf)})
}

func (s *Server) topUsers(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	all := s.gatherer.gather(r.Context(), limit, routePatience)
	s.answer(w, http.StatusOK, struct {
		Users []userJSON `json:"users"`
		AsOf  asOfJSON   `json:"as_of"`
		missingJSON
	}{usersOf(all.users.top), asOf(all.asOf(all.users)), all.missing(all.users)})
}

func (s *Server) topPages(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	all := s.gatherer.gather(r.Context(), limit, routePatience)
	s.answer(w, http.StatusOK, struct {
		Pages []pageJSON `json:"pages"`
		AsOf  asOfJSON   `json:"as_of"`
		missingJSON
	}{pagesOf(all.pages.top), asOf(all.asOf(all.pages)), all.missing(all.pages)})
}

func (s *Server) deadLetters(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	dead := s.options.Results.DeadLetters(limit)
	letters := make([]deadLetterJSON, len(dead.Newest))
	for i, l := range dead.Newest {
		letters[i] = deadLetterJSON{l.Topic, l.Partition, l.Offset, known(l.Timestamp), l.Reason, l.Detail}
	}
	s.answer(w, http.StatusOK, struct {
		DeadLetters []deadLetterJSON `json:"dead_letters"`
		Total       int64            `json:"total"`
		ByReason    map[string]int64 `json:"by_reason"`
	}{letters, dead.Total, dead.ByReason})
}

// limitOf reads ?limit=, default 10, or answers that it is wrong.
func limitOf(w http.ResponseWriter, r *http.Request) (int, bool) {
	const usual = 10
	text := r.URL.Query().Get("limit")
	if text == "" {
		return usual, true
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > MaxLimit {
		problemBadLimit(text).write(w)
		return 0, false
	}
	return limit, true
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, map[string]string{"status": "ok", "version": s.options.Version})
}

// ready answers 200 once all of this instance's counts are restored.
// Before that, and while the job does not get on, it answers 503 with the progress, as a problem with extra members.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	p := s.options.Results.Progress()
	if p.Ready {
		s.answer(w, http.StatusOK, struct {
			Ready    bool         `json:"ready"`
			Progress progressJSON `json:"progress"`
		}{true, progressOf(p)})
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "1")
	s.answer(w, http.StatusServiceUnavailable, struct {
		problem
		Ready    bool         `json:"ready"`
		Progress progressJSON `json:"progress"`
	}{problemNotReady(p), false, progressOf(p)})
}

func problemNotReady(p Progress) problem {
	if p.Brokers {
		return newProblem(http.StatusServiceUnavailable, "E1311", "the job waits for the brokers", "the job goes on by itself when the brokers are well: "+p.Waiting, p.Fix)
	}
	if p.Fix != "" {
		return newProblem(http.StatusServiceUnavailable, "E1310", "the job has stopped", "the job, or a part of it, does not go on by itself: "+p.Waiting, p.Fix)
	}
	detail := fmt.Sprintf("%d of %d changes of the counts are restored", p.Counted, p.Of)
	if p.Waiting != "" {
		detail = "the job does not run yet: " + p.Waiting
	}
	return newProblem(http.StatusServiceUnavailable, "E1308", "not ready", detail, "wait; /v1/counts answers meanwhile with the position it has reached")
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		problemMethod(r.Method).write(w)
		return
	}
	problemUnknownPath(r.URL.Path).write(w)
}

// answer writes v as JSON on lines of its own, for people with curl.
func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		s.options.Logger.Error("an answer could not be encoded", "err", err)
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the reader is gone: nobody to tell
}
