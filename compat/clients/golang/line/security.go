package line

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Login is how to come into a secured broker; its Mechanism is empty for any
// other one.
type Login struct {
	Mechanism, User, Password string
	TLS                       *tls.Config // nil without TLS
}

// Security reads the login from the environment: ../../README.md.
func Security() (Login, error) {
	l := Login{Mechanism: os.Getenv("CLIENT_MECHANISM"), User: os.Getenv("CLIENT_USER"), Password: os.Getenv("CLIENT_PASSWORD")}
	if os.Getenv("CLIENT_PROTOCOL") != "SASL_SSL" {
		return l, nil
	}
	raw, err := os.ReadFile(os.Getenv("CLIENT_CA"))
	if err != nil {
		return l, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return l, fmt.Errorf("no certificate in %s", os.Getenv("CLIENT_CA"))
	}
	l.TLS = &tls.Config{RootCAs: roots}
	return l, nil
}
