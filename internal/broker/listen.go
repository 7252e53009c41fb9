package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// localhostAttempts bounds the search for a port that is free on 127.0.0.1 and
// on ::1. Only another process that takes ports at this moment makes one fail.
const localhostAttempts = 16

// Listen opens the listeners of one address, HOST:PORT. The host "localhost"
// means 127.0.0.1 and, where the machine has IPv6, ::1 as well: clients resolve
// the name to either. Port 0 picks a free one, the same for both.
func Listen(ctx context.Context, addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("kafka address %q is not HOST:PORT (such as localhost:9092): %w", addr, err)
	}
	if host != "localhost" {
		ln, err := listenTCP(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{ln}, nil
	}
	return listenLocalhost(ctx, port)
}

func listenLocalhost(ctx context.Context, port string) ([]net.Listener, error) {
	for attempt := 1; ; attempt++ {
		v4, err := listenTCP(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return nil, err
		}
		chosen := strconv.Itoa(v4.Addr().(*net.TCPAddr).Port)
		v6, err := listenTCP(ctx, "tcp6", net.JoinHostPort("::1", chosen))
		switch {
		case err == nil:
			return []net.Listener{v4, v6}, nil
		case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT):
			return []net.Listener{v4}, nil // a machine without IPv6
		}
		_ = v4.Close()
		if port != "0" || attempt == localhostAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

func listenTCP(ctx context.Context, network, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: 15 * time.Second, Count: 4}}
	ln, err := lc.Listen(ctx, network, addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("kafka address %s is in use by another process: stop it or choose another address: %w", addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("kafka address %s needs a privilege that this user has not: choose a port above 1023: %w", addr, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("kafka address %s is not an address of this machine: choose one of its own, or localhost: %w", addr, err)
	}
	return nil, fmt.Errorf("kafka address %s cannot be listened on: %w", addr, err)
}

// keepAliveIdle is how long a silent connection goes unprobed. A peer that
// vanished without a word is noticed a minute later.
const keepAliveIdle = 60 * time.Second
