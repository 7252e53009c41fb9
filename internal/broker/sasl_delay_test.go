package broker

import (
	"net/netip"
	"testing"
	"time"
)

// Each failure of one address waits twice as long as the one before, up to the
// bound; others do not wait for it, and after a while it is forgotten.
func TestFailedLoginsWaitLonger(t *testing.T) {
	var d loginDelays
	now := time.Unix(1_700_000_000, 0)
	ana, bob := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i, want := range []time.Duration{250, 500, 1000, 2000, 4000, 5000, 5000} {
		if got := d.next(ana, now, 250*time.Millisecond); got != want*time.Millisecond {
			t.Errorf("failure %d waits %v, want %v ms", i+1, got, want)
		}
	}
	if got := d.next(bob, now, 250*time.Millisecond); got != 250*time.Millisecond {
		t.Errorf("another address waits %v", got)
	}
	now = now.Add(loginDelayMemory + time.Second)
	if got := d.next(ana, now, 250*time.Millisecond); got != 250*time.Millisecond {
		t.Errorf("after a while a failure waits %v", got)
	}
	six := func(s string) time.Duration { return d.next(netip.MustParseAddr(s), now, 250*time.Millisecond) }
	if six("2001:db8::1"); six("2001:db8::2") != 500*time.Millisecond {
		t.Error("a network of IPv6 is taken for many")
	}
}

// The addresses that are remembered are bounded, and the old ones make place.
func TestFailedLoginsAreBounded(t *testing.T) {
	var d loginDelays
	now := time.Unix(1_700_000_000, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range loginDelayAddresses + 100 {
		if got := d.next(addr(i), now, time.Millisecond); got != time.Millisecond {
			t.Fatalf("address %d waits %v", i, got)
		}
	}
	if got := len(d.mu.failures); got != loginDelayAddresses {
		t.Errorf("%d addresses are remembered", got)
	}
	later := now.Add(loginDelayMemory + time.Second)
	d.next(addr(1<<20), later, time.Millisecond)
	if got := len(d.mu.failures); got != 1 {
		t.Errorf("%d addresses are remembered after a while", got)
	}
}
