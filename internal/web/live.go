package web

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// tick is how often results are looked at. What changes is on every screen
	// within one tick.
	tick = 250 * time.Millisecond
	// heartbeat keeps proxies from closing a quiet stream.
	heartbeat = 15 * time.Second
	// streamWriteTimeout drops a reader that does not read.
	streamWriteTimeout = 10 * time.Second
	// historySeconds is the length of the rate's history; rateSeconds is the
	// window over which the shown rate is averaged.
	historySeconds = 60
	rateSeconds    = 5
	liveTop        = 10
	// livePatience bounds how long other instances may take for a snapshot.
	livePatience = time.Second
)

// snapshotJSON is one event of the stream: everything that the page shows.
type snapshotJSON struct {
	countsJSON
	ClicksPerSecond   float64      `json:"clicks_per_second"`
	RateWindowSeconds int          `json:"rate_window_seconds"`
	PerSecond         []int64      `json:"per_second"` // of the last full seconds, oldest first
	TopUsers          []userJSON   `json:"top_users"`
	TopPages          []pageJSON   `json:"top_pages"`
	Ready             bool         `json:"ready"`
	Progress          progressJSON `json:"progress"`
	DemoRunning       bool         `json:"demo_running"`
	Source            string       `json:"source"`
	KafkaAddr         string       `json:"kafka_addr"`
	Version           string       `json:"version"`
}

// hub looks at the results every tick and hands the newest snapshot to every
// subscriber. A subscriber that is slow skips snapshots; it never delays others.
type hub struct {
	options  Options
	gatherer *gatherer
	stop     context.CancelFunc
	ended    chan struct{} // closed when the goroutine has returned
	ctx      context.Context

	mu struct {
		sync.Mutex
		subscribers map[chan event]struct{}
		rate        rate
		id          int64
		last        []byte // the newest snapshot's JSON
	}
}

// event is one snapshot, ready to be sent.
type event struct {
	id   int64
	data []byte
}

func newHub(o Options, g *gatherer) *hub {
	ctx, stop := context.WithCancel(context.Background())
	h := &hub{options: o, gatherer: g, ctx: ctx, stop: stop, ended: make(chan struct{})}
	h.mu.subscribers = make(map[chan event]struct{})
	go h.run()
	return h
}

// close ends the streams and waits for the goroutine.
func (h *hub) close() {
	h.stop()
	<-h.ended
}

func (h *hub) run() {
	defer close(h.ended)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		h.look()
		select {
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
	}
}

// look measures the rate and, when somebody listens and something changed,
// sends a new snapshot. Other instances are asked only when somebody listens: the
// rate begins anew then.
func (h *hub) look() {
	if !h.listened() && len(h.options.Results.Peers()) > 0 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mu.rate = rate{}
		return
	}
	all := h.gatherer.gather(h.ctx, liveTop, livePatience)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.observeLocked(all)
	if len(h.mu.subscribers) == 0 {
		return
	}
	if e, changed := h.snapshotLocked(all); changed {
		for subscriber := range h.mu.subscribers {
			offer(subscriber, e)
		}
	}
}

func (h *hub) listened() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.mu.subscribers) > 0
}

// observeLocked leaves out counts in which something is missing: what comes back
// is no traffic.
func (h *hub) observeLocked(all whole) {
	counts := countsOf(all)
	h.mu.rate.observe(h.options.Now(), counts.Clicks, all.progress.Ready && !counts.Partial)
}

// offer replaces what the subscriber has not taken yet.
func offer(subscriber chan event, e event) {
	select {
	case <-subscriber:
	default:
	}
	subscriber <- e // cap 1 and only the hub sends: there is room
}

func (h *hub) snapshotLocked(all whole) (e event, changed bool) {
	data, err := json.Marshal(snapshotJSON{
		countsJSON:        countsOf(all),
		ClicksPerSecond:   h.mu.rate.perSecond(),
		RateWindowSeconds: rateSeconds,
		PerSecond:         h.mu.rate.history(),
		TopUsers:          usersOf(all.users.top),
		TopPages:          pagesOf(all.pages.top),
		Ready:             all.progress.Ready,
		Progress:          progressOf(all.progress),
		DemoRunning:       h.options.DemoRunning,
		Source:            h.options.Source,
		KafkaAddr:         h.options.KafkaAddr,
		Version:           h.options.Version,
	}, json.Deterministic(true))
	if err != nil {
		h.options.Logger.Error("a snapshot could not be encoded", "err", err)
		return event{}, false
	}
	changed = !bytes.Equal(data, h.mu.last)
	if changed {
		h.mu.last = data
		h.mu.id++
	}
	return event{h.mu.id, data}, changed
}

// subscribe gives a channel that always holds the newest snapshot which was not
// taken yet, beginning with the present one. ok is false at MaxStreams.
func (h *hub) subscribe(ctx context.Context) (subscriber chan event, ok bool) {
	all := h.gatherer.gather(ctx, liveTop, livePatience)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.subscribers) >= MaxStreams {
		return nil, false
	}
	subscriber = make(chan event, 1)
	e, _ := h.snapshotLocked(all)
	subscriber <- e
	h.mu.subscribers[subscriber] = struct{}{}
	return subscriber, true
}

func (h *hub) unsubscribe(subscriber chan event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.subscribers, subscriber)
}

// live streams snapshots as server-sent events. Each replaces the one before,
// so a reader that reconnects has missed nothing: the first is the present one.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	subscriber, ok := s.hub.subscribe(r.Context())
	if !ok {
		problemTooManyStreams().write(w)
		return
	}
	defer s.hub.unsubscribe(subscriber)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	stream := stream{w: w, control: http.NewResponseController(w)}
	if stream.send("retry: 1000\n\n") != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case e := <-subscriber:
			err = stream.send("id: %d\nevent: snapshot\ndata: %s\n\n", e.id, e.data)
		case <-beat.C:
			err = stream.send(": still here\n\n")
		case <-r.Context().Done():
			return
		case <-s.hub.ctx.Done():
			return
		}
		if err != nil {
			return // the reader is gone
		}
	}
}

type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s stream) send(format string, args ...any) error {
	// Not every writer has deadlines (tests); those that have none do not stall.
	_ = s.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout))
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}
