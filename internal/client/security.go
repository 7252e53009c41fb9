package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Security is how a client proves itself and whom it trusts. The zero value is
// plain text and anonymous.
type Security struct {
	TLS      bool
	CAFile   string // PEM; empty trusts the system's authorities
	CertFile string // PEM, for mutual TLS; together with KeyFile
	KeyFile  string // PEM
	// SkipHostname accepts a certificate that names another host. The chain is
	// still checked (ssl.endpoint.identification.algorithm is empty).
	SkipHostname bool

	SASL      bool
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	Username  string
	Password  Secret
}

// Secret is text that must not reach a log: it prints as asterisks.
type Secret string

func (Secret) String() string   { return "***" }
func (Secret) GoString() string { return "***" }

func (s Security) options() ([]kgo.Opt, error) {
	var options []kgo.Opt
	if s.TLS {
		config, err := s.tlsConfig()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	if s.SASL {
		mechanism, err := s.mechanism()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

func (s Security) mechanism() (sasl.Mechanism, error) {
	if s.Username == "" {
		return nil, errors.New("SASL needs a user: set sasl.username and sasl.password, or sasl.jaas.config")
	}
	switch strings.ToUpper(s.Mechanism) {
	case "PLAIN", "":
		return plain.Auth{User: s.Username, Pass: string(s.Password)}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism is %q: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

func (s Security) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ssl.ca.location: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl.ca.location: %s holds no PEM certificate", s.CAFile)
		}
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		return nil, errors.New("mutual TLS needs both ssl.certificate.location and ssl.key.location")
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("ssl.certificate.location and ssl.key.location: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if s.SkipHostname {
		verifyChainOnly(config)
	}
	return config, nil
}

// verifyChainOnly replaces Go's check of chain and host name by one of the
// chain alone: Go can only switch off both.
func verifyChainOnly(config *tls.Config) {
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		for _, certificate := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(certificate)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}
