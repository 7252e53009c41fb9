package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// AwayError names brokers that were dialed and did not answer. franz-go goes on
// dialing them.
type AwayError struct {
	Brokers []string // host:port, sorted
	Err     error    // of the last attempt
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("no answer from %s: %v", strings.Join(e.Brokers, ", "), e.Err)
}

func (e *AwayError) Unwrap() error { return e.Err }

// dials remembers which brokers the last attempt to connect has failed at.
type dials struct {
	mu     sync.Mutex
	failed map[string]bool // by address
	last   error
}

var _ kgo.HookBrokerConnect = (*dials)(nil)

// OnBrokerConnect is kgo.HookBrokerConnect's.
func (d *dials) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	address := net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port)))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		delete(d.failed, address)
	case !errors.Is(err, context.Canceled): // given up by us, it says nothing
		if d.failed == nil {
			d.failed = make(map[string]bool)
		}
		d.failed[address], d.last = true, err
	}
}

// forget is for when the group has answered: what failed before is history, also
// at brokers that are no part of the cluster any more.
func (d *dials) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.failed)
}

func (d *dials) away() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.failed) == 0 {
		return nil
	}
	away := &AwayError{Err: d.last}
	for address := range d.failed {
		away.Brokers = append(away.Brokers, address)
	}
	slices.Sort(away.Brokers)
	return away
}

// Away is an *[AwayError] with the brokers that have not answered since the group
// did for the last time; nil when there are none. From any goroutine.
func (s *Session) Away() error { return s.dials.away() }
