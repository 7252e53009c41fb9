// Package web shows results: the query API, health, metrics, server-sent events
// and a page that follows them. It only reads; nothing here changes anything.
//
// Most readers need [Results], which a job must offer, and [Server].
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options tell a Server what it shows.
type Options struct {
	Results Results
	// Jobs are those of the cluster; nil serves none.
	Jobs Jobs
	// Source is where the events come from, for the page: "embedded broker" or
	// the addresses of a cluster.
	Source string
	// KafkaAddr is where a reader of the page may produce to.
	KafkaAddr string
	// DemoRunning marks the page while clicks are being simulated.
	DemoRunning bool
	// LoopbackOnly refuses requests that name another host than this machine,
	// so that a web page elsewhere cannot read the results by DNS rebinding.
	LoopbackOnly bool
	Version      string
	Gatherer     prometheus.Gatherer
	Registerer   prometheus.Registerer // of the server's own metrics; nil: they are not shown
	Logger       *slog.Logger
	Now          func() time.Time // default time.Now
}

// Limits of one server. At MaxConnections new connections wait in the kernel's
// queue; at MaxStreams new streams are answered with 503.
const (
	MaxConnections = 1024
	MaxStreams     = 256

	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
)

// Server serves one job's results on any number of listeners.
type Server struct {
	options Options
	page    page
	hub     *hub
	http    *http.Server
	slots   chan struct{} // one per open connection
	asking  chan struct{} // holds one question about jobs

	gatherer *gatherer // asks other instances
}

// New makes a Server and starts its event stream. Close it, also when it never
// served.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{options: o, page: loadPage(), slots: make(chan struct{}, MaxConnections), asking: make(chan struct{}, 1), gatherer: newGatherer(o)}
	s.hub = newHub(o, s.gatherer)
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Handler is everything the server answers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /v1/counts", s.counts)
	mux.HandleFunc("GET /v1/counts/users", s.topUsers)
	mux.HandleFunc("GET /v1/counts/users/{id}", s.user)
	mux.HandleFunc("GET /v1/counts/users/{id}/windows", s.windows)
	mux.HandleFunc("GET /v1/counts/pages", s.topPages)
	mux.HandleFunc("GET /v1/dead-letters", s.deadLetters)
	mux.HandleFunc("GET /v1/live", s.live)
	mux.HandleFunc("GET "+partsPath, s.parts)
	if s.options.Jobs != nil {
		mux.HandleFunc("GET /v1/jobs", s.jobs)
		mux.HandleFunc("GET /v1/jobs/{name}", s.job)
	}
	if s.options.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.options.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	}
	mux.HandleFunc("/", s.unknown)
	return s.guard(mux)
}

// guard sets the headers that every answer carries and refuses foreign hosts.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.page.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.options.LoopbackOnly && !isLoopback(r.Host) {
			problemForeignHost(r.Host).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback reports whether a Host header names this machine's loopback.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	if len(host) > 2 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Serve answers on l until Close. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(&limitedListener{Listener: l, slots: s.slots})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http on %s: %w", l.Addr(), err)
}

// Close ends the streams, lets other requests finish until ctx ends, and waits
// for everything the server started. It is safe twice.
func (s *Server) Close(ctx context.Context) error {
	s.hub.close()
	defer s.gatherer.client.CloseIdleConnections()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// limitedListener takes a slot before each connection; without a free one,
// Accept waits until one closes.
type limitedListener struct {
	net.Listener
	slots chan struct{}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slottedConn{Conn: conn, slots: l.slots}, nil
}

type slottedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *slottedConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
