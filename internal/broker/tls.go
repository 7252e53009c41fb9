package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificates is the certificate of a TLS listener. It is read anew when its
// files change, so that a renewed one serves without a restart; connections that
// are open stay. It looks at the files when somebody connects, at most once a
// second, and needs no goroutine.
type Certificates struct {
	certFile, keyFile string
	now               func() time.Time
	logger            *slog.Logger

	current atomic.Pointer[tls.Certificate]
	mu      struct {
		sync.Mutex
		looked    time.Time // at the files
		warned    time.Time // of the certificate's end
		cert, key fileStamp // when current was read
	}
}

// fileStamp tells one content of a file from the next.
type fileStamp struct {
	modified time.Time
	size     int64
}

const (
	certificateLookEvery = time.Second
	certificateWarnEvery = 24 * time.Hour
	// certificateWarnBefore is how long before its end a certificate is warned of.
	certificateWarnBefore = 21 * 24 * time.Hour
)

// ErrCertificate means that a certificate cannot be used: the text says which
// file, and why.
var ErrCertificate = errors.New("certificate cannot be used")

// OpenCertificates reads a certificate chain and its private key, both PEM. One
// that is expired, not valid yet or does not belong to the key is [ErrCertificate].
func OpenCertificates(certFile, keyFile string, now func() time.Time, logger *slog.Logger, reg prometheus.Registerer) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile, now: now, logger: logger}
	if err := c.reload(); err != nil {
		return nil, err
	}
	c.warn()
	if reg != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_broker_tls_certificate_expiry_timestamp_seconds",
			Help: "When the certificate of the TLS listener expires, in seconds since 1970.",
		}, func() float64 { return float64(c.Expiry().Unix()) }))
	}
	return c, nil
}

// Expiry is when the certificate that is served ends.
func (c *Certificates) Expiry() time.Time { return c.current.Load().Leaf.NotAfter }

// Config is what a TLS listener needs: TLS 1.2 or newer.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.look()
			return c.current.Load(), nil
		},
	}
}

// look takes over what changed in the files. What cannot be used is reported, and
// the certificate before it stays.
func (c *Certificates) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.mu.looked) < certificateLookEvery && !now.Before(c.mu.looked) {
		return
	}
	c.mu.looked = now
	if stampOf(c.certFile) != c.mu.cert || stampOf(c.keyFile) != c.mu.key {
		if err := c.reload(); err != nil {
			c.logger.Error("a changed certificate is not taken over: the one before stays", "error", err, "valid_until", c.Expiry())
		} else {
			c.logger.Info("a changed certificate was taken over", "file", c.certFile, "valid_until", c.Expiry())
			c.mu.warned = time.Time{}
		}
	}
	if now.Sub(c.mu.warned) >= certificateWarnEvery {
		c.warn()
	}
}

// warn tells of an end that is near or past.
func (c *Certificates) warn() {
	c.mu.warned = c.now()
	switch left := c.Expiry().Sub(c.now()); {
	case left <= 0:
		c.logger.Error("the certificate of the TLS listener has expired: clients refuse it. Replace the files, no restart is needed", "file", c.certFile, "valid_until", c.Expiry())
	case left < certificateWarnBefore:
		c.logger.Warn("the certificate of the TLS listener expires soon. Replace the files, no restart is needed", "file", c.certFile, "valid_until", c.Expiry())
	}
}

func stampOf(file string) fileStamp {
	info, err := os.Stat(file)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size()}
}

// reload reads the files. The stamps are taken first: what changes meanwhile is
// seen the next time. A pair that does not fit, as between two renames, is
// looked at again until it does.
func (c *Certificates) reload() error {
	cert, key := stampOf(c.certFile), stampOf(c.keyFile)
	pair, err := readPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	if err := checkValidity(c.certFile, pair.Leaf, c.now()); err != nil {
		return err
	}
	c.mu.cert, c.mu.key = cert, key
	c.current.Store(pair)
	return nil
}

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	certificate, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s with key %s: %w", ErrCertificate, certFile, keyFile, err)
	}
	return &pair, nil
}

func checkValidity(file string, leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w: %s expired on %s", ErrCertificate, file, leaf.NotAfter.Format(time.RFC1123))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w: %s is not valid before %s; is the clock right?", ErrCertificate, file, leaf.NotBefore.Format(time.RFC1123))
	}
	return nil
}
