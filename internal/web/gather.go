package web

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/record"
)

// partsPath answers with what this instance has, and asks nobody: so however
// instances take each other for others, no question goes round.
const partsPath = "/v1/parts"

const (
	// peersAtOnce bounds how many instances are asked at the same time for one answer.
	peersAtOnce = 8
	// maxPartsBytes bounds one instance's answer; a longer one is none.
	maxPartsBytes = 16 << 20
)

// gatherer asks all instances of the job for what they have.
type gatherer struct {
	results Results
	client  *http.Client
	asked   *prometheus.CounterVec
	partial prometheus.Counter
}

func newGatherer(o Options) *gatherer {
	g := &gatherer{
		results: o.Results,
		client:  &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: routePatience},
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_query_peer_requests_total", Help: "Questions to other instances of the job, by what came of them: ok or failed.",
		}, []string{"result"}),
		partial: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_query_partial_answers_total", Help: "Answers over all instances in which some were missing.",
		}),
	}
	for _, result := range []string{"ok", "failed"} {
		g.asked.WithLabelValues(result)
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(g.asked, g.partial)
	}
	return g
}

// gather is the answer of all instances, with rankings of length top. Instances
// that have not answered within patience are missing in it, and named.
func (g *gatherer) gather(ctx context.Context, top int, patience time.Duration) whole {
	all := []Parts{g.results.Parts(top)}
	peers := g.results.Peers()
	var failed []instanceJSON
	if len(peers) > 0 {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		for i, answer := range g.askAll(ctx, peers, top) {
			if answer.err != nil {
				failed = append(failed, instanceJSON{peers[i].Name, peers[i].Endpoint, answer.err.Error()})
				continue
			}
			all = append(all, answer.parts)
		}
	}
	w := merge(all, failed, top)
	if w.missing(w.users, w.pages).Partial {
		g.partial.Inc()
	}
	return w
}

type peerAnswer struct {
	parts Parts
	err   error
}

// askAll has an answer, or an error, for each peer.
func (g *gatherer) askAll(ctx context.Context, peers []Peer, top int) []peerAnswer {
	answers := make([]peerAnswer, len(peers))
	room := make(chan struct{}, peersAtOnce)
	var asking sync.WaitGroup
	for i, p := range peers {
		room <- struct{}{} // one that cannot be reached gives its place up at the deadline
		asking.Go(func() {
			answers[i].parts, answers[i].err = g.ask(ctx, p, top)
			g.count(answers[i].err)
			<-room
		})
	}
	asking.Wait()
	return answers
}

func (g *gatherer) count(err error) {
	if err != nil {
		g.asked.WithLabelValues("failed").Inc()
		return
	}
	g.asked.WithLabelValues("ok").Inc()
}

var errNoEndpoint = errors.New("it has told no address of its own")

func (g *gatherer) ask(ctx context.Context, p Peer, top int) (Parts, error) {
	if p.Endpoint == "" {
		return Parts{}, errNoEndpoint
	}
	target := url.URL{Scheme: "http", Host: p.Endpoint, Path: partsPath, RawQuery: "top=" + strconv.Itoa(top)}
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return Parts{}, err
	}
	question.Header.Set(routedHeader, "1")
	answer, err := g.client.Do(question)
	if err != nil {
		return Parts{}, plainly(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxPartsBytes+1))
	switch {
	case err != nil:
		return Parts{}, plainly(err)
	case answer.StatusCode != http.StatusOK:
		return Parts{}, fmt.Errorf("it answers with status %d", answer.StatusCode)
	case len(body) > maxPartsBytes:
		return Parts{}, fmt.Errorf("its answer is longer than %d bytes", maxPartsBytes)
	}
	var parts partsJSON
	if err := json.Unmarshal(body, &parts); err != nil {
		return Parts{}, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return parts.parts(), nil
}

// plainly leaves out what the caller says: the address.
func plainly(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it does not answer in time")
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("it does not answer: %s", strings.TrimPrefix(err.Error(), "dial "))
}

// The shapes of the answer to other instances.
type (
	partsJSON struct {
		Users       []partJSON  `json:"users"`
		Pages       []partJSON  `json:"pages"`
		Minutes     []partJSON  `json:"minutes"`
		DeadLetters int64       `json:"dead_letters"`
		Progress    ownProgress `json:"progress"`
	}
	ownProgress struct {
		Ready   bool   `json:"ready"`
		Counted int64  `json:"counted"`
		Of      int64  `json:"of"`
		Waiting string `json:"waiting"`
		Fix     string `json:"fix"`
		Brokers bool   `json:"brokers,omitzero"`
	}
	partJSON struct {
		Task        record.Partition                   `json:"task"`
		Tasks       int                                `json:"tasks"`
		Clicks      int64                              `json:"clicks"`
		DemoClicks  int64                              `json:"demo_clicks"`
		Names       int64                              `json:"names"`
		Top         []countJSON                        `json:"top"`
		Offsets     map[record.Partition]record.Offset `json:"offsets"`
		UpTo        map[record.Partition]record.Offset `json:"up_to"`
		Watermark   time.Time                          `json:"watermark"`
		CommittedAt time.Time                          `json:"committed_at"`
	}
	countJSON struct {
		Name   string `json:"name"`
		Clicks int64  `json:"clicks"`
	}
)

func partsJSONOf(parts []Part) []partJSON {
	out := make([]partJSON, len(parts))
	for i, p := range parts {
		out[i] = partJSON{
			Task: p.Task, Tasks: p.Tasks, Clicks: p.Clicks, DemoClicks: p.DemoClicks, Names: p.Names, Top: make([]countJSON, len(p.Top)),
			Offsets: p.AsOf.Offsets, UpTo: p.AsOf.UpTo, Watermark: p.AsOf.Watermark.UTC(), CommittedAt: p.AsOf.CommittedAt.UTC(),
		}
		for j, c := range p.Top {
			out[i].Top[j] = countJSON(c)
		}
	}
	return out
}

func (p partsJSON) parts() Parts {
	return Parts{Users: partsFrom(p.Users), Pages: partsFrom(p.Pages), Minutes: partsFrom(p.Minutes), DeadLetters: p.DeadLetters, Progress: Progress(p.Progress)}
}

func partsFrom(all []partJSON) []Part {
	out := make([]Part, len(all))
	for i, p := range all {
		out[i] = Part{
			Task: p.Task, Tasks: p.Tasks, Clicks: p.Clicks, DemoClicks: p.DemoClicks, Names: p.Names, Top: make([]Count, len(p.Top)),
			AsOf: AsOf{Offsets: p.Offsets, UpTo: p.UpTo, Watermark: p.Watermark, CommittedAt: p.CommittedAt},
		}
		for j, c := range p.Top {
			out[i].Top[j] = Count(c)
		}
	}
	return out
}

// parts answers with what this instance has, for another instance's answer.
func (s *Server) parts(w http.ResponseWriter, r *http.Request) {
	top, err := strconv.Atoi(r.URL.Query().Get("top"))
	if err != nil || top < 0 || top > MaxLimit {
		problemBadLimit(r.URL.Query().Get("top")).write(w)
		return
	}
	own := s.options.Results.Parts(top)
	s.answer(w, http.StatusOK, partsJSON{partsJSONOf(own.Users), partsJSONOf(own.Pages), partsJSONOf(own.Minutes), own.DeadLetters, ownProgress(own.Progress)})
}
