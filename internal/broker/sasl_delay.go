package broker

import (
	"net/netip"
	"sync"
	"time"
)

// loginDelays makes guessing slow: each failed login from an address waits
// twice as long for its answer as the one before. A right password never waits.
type loginDelays struct {
	mu struct {
		sync.Mutex
		failures map[netip.Addr]failures
	}
}

type failures struct {
	count int
	last  time.Time
}

const (
	longestLoginDelay = 5 * time.Second
	// loginDelayMemory is how long a failure counts.
	loginDelayMemory = time.Minute
	// loginDelayAddresses bounds the addresses that are remembered. At the bound
	// all that are old are forgotten, and if none is, the new one is not
	// remembered: it waits for the shortest time.
	loginDelayAddresses = 10_000
)

// next is how long the answer to one more failure of that address has to wait.
func (d *loginDelays) next(addr netip.Addr, now time.Time, shortest time.Duration) time.Duration {
	if addr.Is6() && !addr.Is4In6() { // who has one address has the whole network
		if network, err := addr.Prefix(64); err == nil {
			addr = network.Addr()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.failures == nil {
		d.mu.failures = map[netip.Addr]failures{}
	}
	f := d.mu.failures[addr]
	if now.Sub(f.last) > loginDelayMemory {
		f = failures{}
	}
	delay := min(shortest<<min(f.count, 10), longestLoginDelay)
	if f.count == 0 && len(d.mu.failures) >= loginDelayAddresses && !d.forget(now) {
		return delay
	}
	d.mu.failures[addr] = failures{f.count + 1, now}
	return delay
}

// forget drops what no longer counts and reports whether there is room now.
func (d *loginDelays) forget(now time.Time) bool {
	for addr, f := range d.mu.failures {
		if now.Sub(f.last) > loginDelayMemory {
			delete(d.mu.failures, addr)
		}
	}
	return len(d.mu.failures) < loginDelayAddresses
}
