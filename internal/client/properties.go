package client

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// property applies one Kafka client property to a Config.
type property func(c *Config, value string) error

// properties are the client properties that have a meaning here, under the
// names of the Java client and, where they differ, of librdkafka too.
func properties() map[string]property {
	return map[string]property{
		"bootstrap.servers":    brokers,
		"metadata.broker.list": brokers,
		"client.id":            text(func(c *Config) *string { return &c.ClientID }),

		"socket.connection.setup.timeout.ms": milliseconds(func(c *Config) *time.Duration { return &c.DialTimeout }),

		"security.protocol":        securityProtocol,
		"sasl.mechanism":           text(func(c *Config) *string { return &c.Security.Mechanism }),
		"sasl.mechanisms":          text(func(c *Config) *string { return &c.Security.Mechanism }),
		"sasl.username":            text(func(c *Config) *string { return &c.Security.Username }),
		"sasl.password":            text(func(c *Config) *Secret { return &c.Security.Password }),
		"sasl.jaas.config":         jaas,
		"ssl.ca.location":          text(func(c *Config) *string { return &c.Security.CAFile }),
		"ssl.truststore.location":  text(func(c *Config) *string { return &c.Security.CAFile }),
		"ssl.truststore.type":      pemOnly,
		"ssl.certificate.location": text(func(c *Config) *string { return &c.Security.CertFile }),
		"ssl.key.location":         text(func(c *Config) *string { return &c.Security.KeyFile }),
		"ssl.keystore.type":        pemOnly,
		identificationAlgorithm:    hostnameCheck,
		"acks":                     acks,
		"linger.ms":                linger,
		"batch.size":               bytes(func(c *Config) *int { return &c.BatchBytes }),
		"buffer.memory":            bytes(func(c *Config) *int { return &c.BufferBytes }),
		"compression.type":         compression,
		"delivery.timeout.ms":      milliseconds(func(c *Config) *time.Duration { return &c.DeliveryTimeout }),
		"group.id":                 text(func(c *Config) *string { return &c.Group }),
		"group.instance.id":        text(func(c *Config) *string { return &c.InstanceID }),
		"isolation.level":          isolation,
		"auto.offset.reset":        offsetReset,
		"fetch.max.wait.ms":        milliseconds(func(c *Config) *time.Duration { return &c.FetchMaxWait }),
	}
}

// PropertyNames lists the client properties that [Config.Set] knows.
func PropertyNames() []string { return slices.Sorted(maps.Keys(properties())) }

const identificationAlgorithm = "ssl.endpoint.identification.algorithm"

// Set applies one client property. An unknown name is an error that suggests
// the nearest known one: a setting that is silently ignored is a wrong setting.
func (c *Config) Set(key, value string) error {
	known := properties()
	apply, ok := known[key]
	if !ok {
		return &UnknownPropertyError{Key: key, Nearest: Nearest(key, PropertyNames())}
	}
	if err := apply(c, value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// UnknownPropertyError names a client property without meaning here.
type UnknownPropertyError struct {
	Key     string
	Nearest string // the known name that is spelled most like Key; empty if none is near
}

func (e *UnknownPropertyError) Error() string {
	if e.Nearest == "" {
		return fmt.Sprintf("unknown client property %q", e.Key)
	}
	return fmt.Sprintf("unknown client property %q: did you mean %q?", e.Key, e.Nearest)
}

// LoadProperties applies the file at path, in Java's properties format as far
// as Kafka's own example files use it: one key=value per line, # and !
// comments, a trailing backslash continues the line. Errors name the line.
func (c *Config) LoadProperties(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return c.ReadProperties(file, path)
}

// ReadProperties is LoadProperties on an open file; name is used in errors.
func (c *Config) ReadProperties(r io.Reader, name string) error {
	lines := bufio.NewScanner(r)
	number := 0
	for lines.Scan() {
		number++
		first, line := number, strings.TrimSpace(lines.Text())
		for strings.HasSuffix(line, `\`) && !strings.HasPrefix(line, "#") && lines.Scan() {
			number++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines.Text())
		}
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			return fmt.Errorf("%s:%d: no = in the line: write key=value", name, first)
		}
		if err := c.Set(strings.TrimSpace(key), strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("%s:%d: %w", name, first, err)
		}
	}
	return lines.Err()
}

func text[T ~string](field func(*Config) *T) property {
	return func(c *Config, value string) error {
		*field(c) = T(value)
		return nil
	}
}

func milliseconds(field func(*Config) *time.Duration) property {
	return func(c *Config, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of milliseconds", value)
		}
		*field(c) = time.Duration(n) * time.Millisecond
		return nil
	}
}

func bytes(field func(*Config) *int) property {
	return func(c *Config, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of bytes", value)
		}
		*field(c) = n
		return nil
	}
}

func brokers(c *Config, value string) error {
	c.Brokers = SplitBrokers(value)
	return nil
}

// SplitBrokers is the comma-separated list s without blanks.
func SplitBrokers(s string) []string {
	var all []string
	for one := range strings.SplitSeq(s, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// linger keeps Kafka's meaning of 0, which is this Config's negative.
func linger(c *Config, value string) error {
	if err := milliseconds(func(c *Config) *time.Duration { return &c.Linger })(c, value); err != nil {
		return err
	}
	if c.Linger == 0 {
		c.Linger = -1
	}
	return nil
}

func acks(c *Config, value string) (err error) {
	c.Acks, err = ParseAcks(value)
	return err
}

func compression(c *Config, value string) error {
	if _, err := codec(value); err != nil {
		return err
	}
	c.Compression = value
	return nil
}

func isolation(c *Config, value string) error {
	switch value {
	case "read_committed":
		c.ReadUncommitted = false
	case "read_uncommitted":
		c.ReadUncommitted = true
	default:
		return fmt.Errorf("%q is not an isolation level: use read_committed or read_uncommitted", value)
	}
	return nil
}

func offsetReset(c *Config, value string) error {
	switch value {
	case "earliest", "beginning":
		c.ResetToEnd = false
	case "latest", "end":
		c.ResetToEnd = true
	default:
		return fmt.Errorf("%q is not supported: use earliest or latest", value)
	}
	return nil
}

func securityProtocol(c *Config, value string) error {
	switch strings.ToUpper(value) {
	case "PLAINTEXT":
		c.Security.TLS, c.Security.SASL = false, false
	case "SSL":
		c.Security.TLS, c.Security.SASL = true, false
	case "SASL_PLAINTEXT":
		c.Security.TLS, c.Security.SASL = false, true
	case "SASL_SSL":
		c.Security.TLS, c.Security.SASL = true, true
	default:
		return fmt.Errorf("%q is not a protocol: use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", value)
	}
	return nil
}

func pemOnly(_ *Config, value string) error {
	if !strings.EqualFold(value, "PEM") {
		return fmt.Errorf("%q is not supported: convert the store to PEM", value)
	}
	return nil
}

func hostnameCheck(c *Config, value string) error {
	switch strings.ToLower(value) {
	case "", "none":
		c.Security.SkipHostname = true
	case "https":
		c.Security.SkipHostname = false
	default:
		return fmt.Errorf("%q is not an algorithm: use https, or leave it empty to skip the host name", value)
	}
	return nil
}

// jaas reads user and password out of the Java client's login line, such as
//
//	org.apache.kafka.common.security.plain.PlainLoginModule required username="ana" password="…";
func jaas(c *Config, value string) error {
	user, found := quotedAfter(value, "username=")
	if !found {
		return fmt.Errorf(`no username="…" in the login line`)
	}
	password, _ := quotedAfter(value, "password=")
	c.Security.Username, c.Security.Password = user, Secret(password)
	return nil
}

func quotedAfter(s, name string) (string, bool) {
	_, rest, found := strings.Cut(s, name)
	if !found || len(rest) < 2 || rest[0] != '"' && rest[0] != '\'' {
		return "", false
	}
	value, _, closed := strings.Cut(rest[1:], rest[:1])
	return value, closed
}
