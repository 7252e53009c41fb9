package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"millrace/internal/broker"
)

// address is where a listener is asked to be, with the flag that asked.
type address struct {
	flag string
	host string // never empty: an empty host means localhost, not everybody
	port string
}

func parseAddress(flag, text string) (address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, usage("write "+flag+" HOST:PORT, such as localhost:9092", "%s %s: %s", flag, text, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return address{}, usage("use a port from 0 (any free one) to 65535", "%s %s: %q is not a port number", flag, text, port)
	}
	if host == "" {
		host = "localhost"
	}
	return address{flag: flag, host: host, port: port}, nil
}

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// parseAdvertise checks what clients are to be told: HOST, or HOST:PORT.
func parseAdvertise(flag, text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, "1"
	}
	if _, ipErr := netip.ParseAddr(host); strings.ContainsAny(host, ": /") && ipErr != nil || host == "" && text != "" {
		return "", usage("write "+flag+" HOST or HOST:PORT, as clients can reach it", "%s %s is no address", flag, text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", usage("use a port from 1 to 65535", "%s %s: %q is not a port number", flag, text, port)
	}
	return text, nil
}

// said is the address as a client on this machine would write it.
func (a address) said() string {
	if ip, err := netip.ParseAddr(a.host); err == nil && ip.IsUnspecified() {
		a.host = "localhost"
	}
	return a.String()
}

// loopback reports whether only this machine can reach the address. A name
// other than localhost may resolve to anything, so it counts as reachable.
func (a address) loopback() bool {
	if a.host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(a.host)
	return err == nil && ip.IsLoopback()
}

// exposedKafka refuses a Kafka listener that others could reach and that asks
// nobody to log in.
func exposedKafka(a address) error {
	return &fault{
		code: "E1401", exit: exitRefused,
		what: fmt.Sprintf("%s %s could be reached from other machines, and nobody is asked to log in: whoever reaches it may read and write everything", a.flag, a),
		fix:  fmt.Sprintf("add --auth sasl, so that clients log in, or --insecure-allow-anonymous if everybody on that network may do so; or use %s localhost:%s", a.flag, a.port),
	}
}

// exposedHTTP refuses an HTTP listener that others could reach: it knows no login.
func exposedHTTP(a address) error {
	return &fault{
		code: "E1401", exit: exitRefused,
		what: fmt.Sprintf("%s %s could be reached from other machines, and the page and the query API ask nobody to log in: whoever reaches them may read all results", a.flag, a),
		fix:  fmt.Sprintf("use %s localhost:%s behind a proxy that asks for a login, or add --insecure-allow-anonymous if everybody on that network may read them", a.flag, a.port),
	}
}

// listen opens the address; localhost gives a listener on 127.0.0.1 and one on
// ::1. The address that comes back holds the port that was found for port 0.
func (a address) listen(ctx context.Context) ([]net.Listener, address, error) {
	var listeners []net.Listener
	taken := func(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
	err := patiently(ctx, taken, func() (err error) {
		listeners, err = broker.Listen(ctx, a.String())
		return err
	})
	if err != nil {
		return nil, a, a.listenFault(err)
	}
	a.port = strconv.Itoa(listeners[0].Addr().(*net.TCPAddr).Port)
	return listeners, a, nil
}

func (a address) listenFault(err error) error {
	f := &fault{code: "E1102", exit: exitFailed, err: err, fix: "choose another address with " + a.flag}
	f.what = fmt.Sprintf("%s %s cannot be listened on: %s", a.flag, a, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f.code = "E1101"
		f.what = fmt.Sprintf("%s %s is in use by another process, perhaps by a Millrace that is running already", a.flag, a)
		f.fix = fmt.Sprintf("stop that process (ss -ltnp 'sport = :%s' names it), or choose another port: %s %s", a.port, a.flag, net.JoinHostPort(a.host, "0"))
	case errors.Is(err, syscall.EACCES):
		f.what = fmt.Sprintf("%s %s needs a privilege that this user has not", a.flag, a)
		f.fix = "choose a port above 1023"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.what = fmt.Sprintf("%s %s is not an address of this machine", a.flag, a)
		f.fix = "use one of this machine's addresses (ip addr), or localhost"
	}
	return f
}

// dialable is an address under which this process itself reaches a listener.
func dialable(l net.Listener) string {
	tcp := l.Addr().(*net.TCPAddr)
	if tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return l.Addr().String()
}
