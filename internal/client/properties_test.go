package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/internal/client"
)

func TestReadProperties(t *testing.T) {
	const file = `
# a cluster behind TLS
bootstrap.servers = k1:9092, k2:9092
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
    username="ana" password="a=b";
! Java also takes this comment
linger.ms=0
batch.size=65536
acks=1
compression.type=zstd
isolation.level=read_uncommitted
`
	var c client.Config
	if err := c.ReadProperties(strings.NewReader(file), "prod.properties"); err != nil {
		t.Fatal(err)
	}
	if len(c.Brokers) != 2 || c.Brokers[1] != "k2:9092" || !c.Security.TLS || !c.Security.SASL || c.Security.Username != "ana" ||
		string(c.Security.Password) != "a=b" || c.Linger >= 0 || c.BatchBytes != 65536 || c.Acks != client.AcksLeader ||
		c.Compression != "zstd" || !c.ReadUncommitted {
		t.Errorf("read as %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestWrongProperties(t *testing.T) {
	for file, want := range map[string]string{
		"\nlinger_ms=5":                           `p:2: unknown client property "linger_ms": did you mean "linger.ms"?`,
		"key.serializer=x":                        `p:1: unknown client property "key.serializer"`,
		"acks":                                    `p:1: no = in the line: write key=value`,
		"acks=2":                                  `p:1: acks: acks is "2": use all, 1 or 0`,
		"linger.ms=soon":                          `p:1: linger.ms: "soon" is not a number of milliseconds`,
		"batch.size=-1":                           `p:1: batch.size: "-1" is not a number of bytes`,
		"compression.type=rar":                    `p:1: compression.type: compression is "rar": use none, gzip, snappy, lz4 or zstd`,
		"security.protocol=TLS":                   `p:1: security.protocol: "TLS" is not a protocol: use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL`,
		"isolation.level=any":                     `p:1: isolation.level: "any" is not an isolation level: use read_committed or read_uncommitted`,
		"auto.offset.reset=none":                  `p:1: auto.offset.reset: "none" is not supported: use earliest or latest`,
		"ssl.truststore.type=JKS":                 `p:1: ssl.truststore.type: "JKS" is not supported: convert the store to PEM`,
		"sasl.jaas.config=foo":                    `p:1: sasl.jaas.config: no username="…" in the login line`,
		"\\\nacks=1":                              ``,
		"a\\\nb\\\nc=1\nacks=2":                   `p:1: unknown client property "abc"`,
		"client.id=x\\\ny\nacks=2":                `p:3: acks: acks is "2": use all, 1 or 0`,
		"ssl.endpoint.identification.algorithm=x": `p:1: ssl.endpoint.identification.algorithm: "x" is not an algorithm: use https, or leave it empty to skip the host name`,
	} {
		var c client.Config
		err := c.ReadProperties(strings.NewReader(file), "p")
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q\n got %s\nwant %s", file, got, want)
		}
	}
}

func TestUnknownPropertyIsAType(t *testing.T) {
	var c client.Config
	unknown, ok := errors.AsType[*client.UnknownPropertyError](c.Set("acsk", "all"))
	if !ok || unknown.Nearest != "acks" {
		t.Errorf("got %+v", unknown)
	}
}

func TestValidateReportsAllFaultsAtOnce(t *testing.T) {
	c := client.Config{BatchBytes: 1, Compression: "rar", Security: client.Security{SASL: true}, Linger: time.Second}
	err := c.Validate()
	for _, want := range []string{"batch size", "compression", "SASL needs a user"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults %v do not name %q", err, want)
		}
	}
	if err := (client.Config{}).Validate(); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
}
