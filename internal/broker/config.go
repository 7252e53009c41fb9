package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/internal/vfs"
	"millrace/internal/wire"
)

// Config is how a broker works. FS is required; the zero value of any other
// field means its default.
type Config struct {
	// FS is the data directory. The caller closes it, after the broker.
	FS vfs.FS

	// Log holds the durability and the other settings of the logs. Its Now,
	// Logger and Registerer are taken from this Config, its NodeID too.
	Log log.Options

	// Group bounds what the members of consumer groups may ask for.
	Group group.Config

	// NodeID is this node's id in the cluster of one. Default 1.
	NodeID int32

	// Advertise is the address that clients are told, HOST:PORT or HOST. Empty:
	// the one by which each connection reached us, which is right unless something
	// between client and broker translates addresses.
	Advertise string

	// AdvertiseTLS is Advertise for connections over TLS.
	AdvertiseTLS string

	// RequireLogin asks every client to log in by SASL, and lets it do what ACLs
	// allow. Without it everybody who can connect may do everything.
	RequireLogin bool

	// SuperUsers may do everything, as Kafka writes principals: User:ana.
	SuperUsers []string

	// LoginTimeout is how long a client may take to log in, a TLS handshake
	// included. Default 10 s.
	LoginTimeout time.Duration

	// FailedLoginDelay is how long the first failed login of an address waits for
	// its answer; each further one waits twice as long, up to 5 s. Default 250 ms.
	FailedLoginDelay time.Duration

	// OffsetsPartitions is the partitions of the offsets topic, decided when it is
	// made: Kafka's offsets.topic.num.partitions. Kafka has 50, to spread groups
	// over nodes; one node needs just enough for appends of different groups not to
	// wait for each other. Default 4.
	OffsetsPartitions int

	// DefaultPartitions is the partitions of a topic whose creator does not say.
	// Default 4.
	DefaultPartitions int

	// DisableAutoCreate refuses to make topics that a client only asks about.
	DisableAutoCreate bool

	// ClampReplication makes topics with one replica when a client asks for more,
	// instead of refusing: many tools ask for three.
	ClampReplication bool

	// MaxPartitions bounds the partitions of all topics; beyond it topics and
	// partitions are refused. Default 20,000.
	MaxPartitions int

	// MaxConnections and MaxConnectionsPerIP bound the clients; one more is closed
	// at once. Defaults 10,000 and 256.
	MaxConnections      int
	MaxConnectionsPerIP int

	// Limits bounds what a connection may send.
	Limits wire.Limits

	// RequestMemory bounds the bytes of requests in flight, over all connections:
	// at the bound connections are not read. It must hold one frame of
	// Limits.MaxFrameBytes. Default 128 MiB.
	RequestMemory int64

	// AnswerMemory is the same for what clients are sent, of which the records of
	// fetches are the most: at the bound answers to fetches become smaller, then
	// all wait. Default 128 MiB.
	AnswerMemory int64

	// Now is the wall clock; it may jump. Default time.Now.
	Now func() time.Time

	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // nil: metrics are not registered

	txnFaults txnFaults // off, but for tests
}

func (c Config) withDefaults() Config {
	setDefault(&c.NodeID, 1)
	setDefault(&c.LoginTimeout, 10*time.Second)
	setDefault(&c.FailedLoginDelay, 250*time.Millisecond)
	setDefault(&c.OffsetsPartitions, 4)
	setDefault(&c.DefaultPartitions, 4)
	setDefault(&c.MaxPartitions, 20_000)
	setDefault(&c.MaxConnections, 10_000)
	setDefault(&c.MaxConnectionsPerIP, 256)
	setDefault(&c.RequestMemory, 128<<20)
	setDefault(&c.AnswerMemory, 128<<20)
	c.Limits = c.Limits.WithDefaults()
	c.Group = c.Group.WithDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Log.NodeID, c.Log.Now, c.Log.Logger, c.Log.Registerer = c.NodeID, c.Now, c.Logger, c.Registerer
	return c
}

func setDefault[T ~int | ~int32 | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// validate reports every fault at once. The defaults have been filled in.
func (c Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.FS == nil {
		fault("FS is missing: open the data directory with vfs.OpenOS")
	}
	if c.NodeID < 0 {
		fault("node ID %d is negative", c.NodeID)
	}
	if c.MaxPartitions < 1 {
		fault("MaxPartitions %d is below 1", c.MaxPartitions)
	}
	if c.DefaultPartitions < 1 || c.DefaultPartitions > c.MaxPartitions {
		fault("default partitions %d are not within 1 and %d", c.DefaultPartitions, c.MaxPartitions)
	}
	if c.MaxConnections < 1 || c.MaxConnectionsPerIP < 1 {
		fault("connection limits %d and %d (per IP) must be at least 1", c.MaxConnections, c.MaxConnectionsPerIP)
	}
	if least := 2 * int64(c.Limits.MaxFrameBytes); c.RequestMemory < least {
		fault("RequestMemory of %d bytes is below two frames (%d bytes)", c.RequestMemory, least)
	}
	if c.AnswerMemory < 2*largestFetch {
		fault("AnswerMemory of %d bytes is below two of the largest answers (%d bytes)", c.AnswerMemory, 2*largestFetch)
	}
	if c.OffsetsPartitions < 1 || c.OffsetsPartitions > c.MaxPartitions {
		fault("offsets partitions %d are not within 1 and %d", c.OffsetsPartitions, c.MaxPartitions)
	}
	for _, text := range []string{c.Advertise, c.AdvertiseTLS} {
		if _, err := parseAdvertise(text); err != nil {
			faults = append(faults, err)
		}
	}
	if err := checkSuperUsers(c.SuperUsers); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// advertised is a configured address; what is zero is taken from the connection.
type advertised struct {
	host string
	port int32
}

func parseAdvertise(text string) (advertised, error) {
	if text == "" {
		return advertised{}, nil
	}
	host, portText, err := net.SplitHostPort(text)
	if err != nil { // no port; an IPv6 address may come with its colons
		host, portText = text, "0"
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	_, ipErr := netip.ParseAddr(host)
	if err != nil || host == "" || strings.Contains(host, ":") && ipErr != nil {
		return advertised{}, fmt.Errorf("advertised address %q is neither HOST:PORT nor HOST", text)
	}
	return advertised{host: host, port: int32(port)}, nil
}
