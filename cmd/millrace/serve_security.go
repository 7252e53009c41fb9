package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"millrace/internal/broker"
)

// securityFlags say who may come in, over what, and how many.
type securityFlags struct {
	tlsAddr, tlsCert, tlsKey string
	advertiseTLS             string
	auth                     string
	superUsers               []string
	maxConnections           int
	maxConnectionsPerIP      int
}

func (f *securityFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.tlsAddr, "kafka-tls-addr", "", "a second Kafka listener, over TLS; needs --tls-cert and --tls-key")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "PEM file of the TLS listener's certificate chain; read anew when it changes")
	flags.StringVar(&f.tlsKey, "tls-key", "", "PEM file of the certificate's private key")
	flags.StringVar(&f.advertiseTLS, "advertise-tls", "", "as --advertise, for clients of --kafka-tls-addr")
	flags.StringVar(&f.auth, "auth", authNone, "none: whoever connects may do everything; sasl: clients log in, ACLs say what they may do")
	flags.StringSliceVar(&f.superUsers, "super-users", nil, "users who may do everything, comma-separated: admin or User:admin")
	flags.IntVar(&f.maxConnections, "max-connections", 10_000, "most Kafka connections")
	flags.IntVar(&f.maxConnectionsPerIP, "max-connections-per-ip", 256, "most Kafka connections of one client address")
}

// Values of --auth.
const (
	authNone = "none"
	authSASL = "sasl"
)

// securitySettings are checked securityFlags.
type securitySettings struct {
	tls                 address // its host is empty without a TLS listener
	tlsCert, tlsKey     string
	advertiseTLS        string
	login               bool     // clients must log in
	superUsers          []string // as ACLs write them
	maxConnections      int
	maxConnectionsPerIP int
}

func (s securitySettings) hasTLS() bool { return s.tls.host != "" }

func (f securityFlags) settings() (securitySettings, error) {
	s := securitySettings{
		tlsCert: f.tlsCert, tlsKey: f.tlsKey, login: f.auth == authSASL,
		maxConnections: f.maxConnections, maxConnectionsPerIP: f.maxConnectionsPerIP,
	}
	hasTLS, hasPair := f.tlsAddr != "", f.tlsCert != "" && f.tlsKey != ""
	switch {
	case f.auth != authNone && f.auth != authSASL:
		return s, usage("use --auth none or sasl", "--auth is %q", f.auth)
	case hasTLS && !hasPair:
		return s, usage("add --tls-cert and --tls-key, each a PEM file", "--kafka-tls-addr %s needs a certificate and its key", f.tlsAddr)
	case !hasTLS && (f.tlsCert != "" || f.tlsKey != "" || f.advertiseTLS != ""):
		return s, usage("add --kafka-tls-addr HOST:PORT", "--tls-cert, --tls-key and --advertise-tls belong to a TLS listener, and there is none")
	case !s.login && len(f.superUsers) > 0:
		return s, usage("add --auth sasl", "--super-users means nothing where nobody logs in")
	case f.maxConnections < 1 || f.maxConnectionsPerIP < 1:
		return s, usage("use numbers of at least 1", "--max-connections is %d, --max-connections-per-ip %d", f.maxConnections, f.maxConnectionsPerIP)
	}
	var err error
	if hasTLS {
		if s.tls, err = parseAddress("--kafka-tls-addr", f.tlsAddr); err != nil {
			return s, err
		}
	}
	if s.advertiseTLS, err = parseAdvertise("--advertise-tls", f.advertiseTLS); err != nil {
		return s, err
	}
	s.superUsers, err = principals(f.superUsers)
	return s, err
}

// principals reads names of users, with or without Kafka's User: before them.
// Kafka separates them by semicolons, so that works as well.
func principals(names []string) ([]string, error) {
	var all []string
	for _, list := range names {
		for one := range strings.SplitSeq(list, ";") {
			name := strings.TrimPrefix(strings.TrimSpace(one), "User:")
			if name == "" || strings.Contains(name, ":") || name == "*" {
				return nil, usage("use --super-users admin or --super-users User:admin,User:ops", "--super-users: %q is no user", one)
			}
			all = append(all, "User:"+name)
		}
	}
	return all, nil
}

// openCertificates reads what the TLS listener needs, before anything else
// starts.
func (n *node) openCertificates(registry prometheus.Registerer) (*broker.Certificates, error) {
	s := n.settings.security
	if !s.hasTLS() {
		return nil, nil
	}
	certificates, err := broker.OpenCertificates(s.tlsCert, s.tlsKey, time.Now, n.logger, registry)
	if err != nil {
		return nil, &fault{
			code: "E1107", exit: exitFailed, err: err, what: fmt.Sprintf("the TLS listener cannot start: %s", err),
			fix: "correct --tls-cert and --tls-key: PEM files of a certificate that is valid today, and of its key",
		}
	}
	return certificates, nil
}

// overTLS makes TLS listeners of plain ones.
func overTLS(listeners []net.Listener, certificates *broker.Certificates) []net.Listener {
	secure := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		secure[i] = tls.NewListener(l, certificates.Config())
	}
	return secure
}

// checkUsers refuses to serve logins that nobody can pass.
func (n *node) checkUsers(b *broker.Broker) error {
	s := n.settings.security
	if !s.login {
		return nil
	}
	var names []string
	for _, u := range b.Users() {
		names = append(names, u.Name)
	}
	if len(names) == 0 {
		return &fault{
			code: "E1403", exit: exitRefused, what: fmt.Sprintf("--auth sasl: there are no users in %s, so nobody could log in", n.settings.dataDir),
			fix: fmt.Sprintf("millrace users add admin --data-dir %s, then start with --super-users admin", n.settings.dataDir),
		}
	}
	known := func(principal string) bool { return slices.Contains(names, strings.TrimPrefix(principal, "User:")) }
	if !slices.ContainsFunc(s.superUsers, known) {
		n.logger.Warn("none of the super users exists: users can do only what ACLs allow, and nobody can change ACLs unless one allows it", "super_users", s.superUsers)
	}
	return nil
}

// closeListeners adds what goes wrong to err.
func closeListeners(listeners []net.Listener, err error) error {
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}
