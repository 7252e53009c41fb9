package target

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The users of a secured broker. The first is a super user, and the other may do
// nothing until an ACL says so.
const (
	Admin         = "admin"
	AdminPassword = "adm1n-secret"
	User          = "ana"
	UserPassword  = "an4-secret"
)

// secure makes what a secured broker needs before its first start: a
// certificate, a second listener, and users.
func (b *Broker) secure() error {
	if err := writeCertificate(b.Dir); err != nil {
		return err
	}
	b.CA = filepath.Join(b.Dir, "cert.pem")
	addr, err := FreeAddr()
	if err != nil {
		return err
	}
	b.TLSAddr = addr
	if b.Kind == Kafka {
		return nil // users are part of the formatted directory
	}
	for _, user := range [][2]string{{Admin, AdminPassword}, {User, UserPassword}} {
		cmd := exec.Command(Binary(), "users", "add", user[0], "--data-dir", b.DataDir)
		cmd.Stdin = strings.NewReader(user[1] + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("millrace users add %s: %w\n%s", user[0], err, out)
		}
	}
	return nil
}

func (b *Broker) millraceSecurity() []string {
	return []string{"--auth", "sasl", "--super-users", Admin, "--kafka-tls-addr", b.TLSAddr,
		"--tls-cert", b.CA, "--tls-key", filepath.Join(b.Dir, "key.pem")}
}

// kafkaSecurity are the properties of a Kafka with the same two listeners, and a
// third one for the broker's talk with itself.
func (b *Broker) kafkaSecurity(controller, internal string) []string {
	mechanisms := "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	properties := []string{
		"listeners=SASL_PLAINTEXT://" + b.Addr + ",SASL_SSL://" + b.TLSAddr + ",INTERNAL://" + internal + ",CONTROLLER://" + controller,
		"advertised.listeners=SASL_PLAINTEXT://" + b.Addr + ",SASL_SSL://" + b.TLSAddr + ",INTERNAL://" + internal,
		"listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=INTERNAL",
		"sasl.enabled.mechanisms=" + mechanisms,
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:" + Admin + ";User:ANONYMOUS",
		"ssl.keystore.type=PEM",
		"ssl.keystore.location=" + filepath.Join(b.Dir, "both.pem"),
		"ssl.endpoint.identification.algorithm=",
	}
	plain := fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s" user_%s="%s";`,
		Admin, AdminPassword, User, UserPassword)
	for _, listener := range []string{"sasl_plaintext", "sasl_ssl"} {
		properties = append(properties, "listener.name."+listener+".plain.sasl.jaas.config="+plain)
		for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
			properties = append(properties, "listener.name."+listener+"."+mechanism+
				".sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;")
		}
	}
	return properties
}

// kafkaUsers are the arguments of the format command that make the users.
func kafkaUsers() []string {
	var args []string
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, Admin, AdminPassword),
			"--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, UserPassword))
	}
	return args
}

// writeCertificate writes a certificate for loopback that signs itself, its key,
// and both in one file.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, content := range map[string][]byte{
		"cert.pem": cert, "key.pem": private, "both.pem": bytes.Join([][]byte{private, cert}, nil),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Login is how a client comes into a secured broker.
type Login struct {
	Protocol  string // SASL_PLAINTEXT or SASL_SSL
	Mechanism string
	User      string
	Password  string
	CA        string // file; empty without TLS
}

// Logins are all ways by which a user may come in.
func (b *Broker) Logins(user, password string) []Login {
	var all []Login
	for _, protocol := range []string{"SASL_PLAINTEXT", "SASL_SSL"} {
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
			all = append(all, Login{protocol, mechanism, user, password, b.CA})
		}
	}
	return all
}

// Addr is where a login of this protocol goes.
func (b *Broker) AddrOf(l Login) string {
	if l.Protocol == "SASL_SSL" {
		return b.TLSAddr
	}
	return b.Addr
}

// Env hands a login to the client programs: clients/README.md.
func (l Login) Env() []string {
	return []string{"CLIENT_PROTOCOL=" + l.Protocol, "CLIENT_MECHANISM=" + l.Mechanism,
		"CLIENT_USER=" + l.User, "CLIENT_PASSWORD=" + l.Password, "CLIENT_CA=" + l.CA}
}

// Librdkafka are the settings of librdkafka, as name=value.
func (l Login) Librdkafka() []string {
	settings := []string{"security.protocol=" + l.Protocol, "sasl.mechanisms=" + l.Mechanism,
		"sasl.username=" + l.User, "sasl.password=" + l.Password}
	if l.Protocol == "SASL_SSL" {
		settings = append(settings, "ssl.ca.location="+l.CA)
	}
	return settings
}

// JavaProperties are the settings of Kafka's own clients, one a line.
func (l Login) JavaProperties() string {
	module := "scram.ScramLoginModule"
	if l.Mechanism == "PLAIN" {
		module = "plain.PlainLoginModule"
	}
	lines := []string{"security.protocol=" + l.Protocol, "sasl.mechanism=" + l.Mechanism,
		fmt.Sprintf(`sasl.jaas.config=org.apache.kafka.common.security.%s required username="%s" password="%s";`, module, l.User, l.Password)}
	if l.Protocol == "SASL_SSL" {
		lines = append(lines, "ssl.truststore.type=PEM", "ssl.truststore.location="+l.CA)
	}
	return strings.Join(slices.Concat(lines, []string{""}), "\n")
}
