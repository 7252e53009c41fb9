package broker_test

import (
	"net"
	"strings"
	"testing"

	"millrace/internal/broker"
)

func closeListeners(t *testing.T, listeners []net.Listener) {
	t.Cleanup(func() {
		for _, ln := range listeners {
			_ = ln.Close()
		}
	})
}

// localhost is 127.0.0.1 and ::1 on one port, also when the port is left open.
func TestListenLocalhostMeansBothFamilies(t *testing.T) {
	listeners, err := broker.Listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	closeListeners(t, listeners)
	port := listeners[0].Addr().(*net.TCPAddr).Port
	if port == 0 {
		t.Error("no port was picked")
	}
	for _, ln := range listeners {
		addr := ln.Addr().(*net.TCPAddr)
		if addr.Port != port || !addr.IP.IsLoopback() {
			t.Errorf("listens on %s, want port %d of a loopback address", addr, port)
		}
	}
	if v6, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		_ = v6.Close()
		if len(listeners) != 2 {
			t.Errorf("%d listeners on a machine with IPv6, want 2", len(listeners))
		}
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for addr, says := range map[string]string{
		"localhost:" + port: "in use by another process",
		"localhost":         "is not HOST:PORT",
		"192.0.2.1:0":       "not an address of this machine",
	} {
		listeners, err := broker.Listen(t.Context(), addr)
		closeListeners(t, listeners)
		if err == nil {
			t.Errorf("%s: no error", addr)
		} else if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), addr) && !strings.Contains(err.Error(), port) {
			t.Errorf("%s: %q does not say %q and where", addr, err, says)
		}
	}
}
