package broker

import (
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/log"
)

// brokerSetting is one thing that the broker tells about itself under Kafka's name.
type brokerSetting struct {
	name  string
	kind  kmsg.ConfigType
	value string
	fixed bool // it is so in every Millrace broker; otherwise its start decided it
	doc   string
}

// describeBroker lists the broker's own settings. They are decided at its start,
// so all are read-only, as Kafka marks what needs a restart.
func (b *Broker) describeBroker(c *conn) []kmsg.DescribeConfigsResponseResourceConfig {
	settings := b.brokerSettings(c)
	configs := make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(settings))
	for _, s := range settings {
		source := kmsg.ConfigSourceStaticBrokerConfig
		if s.fixed {
			source = kmsg.ConfigSourceDefaultConfig
		}
		configs = append(configs, kmsg.DescribeConfigsResponseResourceConfig{
			Name: s.name, Value: &s.value, ReadOnly: true, IsDefault: s.fixed, Source: source, ConfigType: s.kind, Documentation: &s.doc,
			ConfigSynonyms: []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{synonym(s.name, s.value, source)},
		})
	}
	return configs
}

func (b *Broker) brokerSettings(c *conn) []brokerSetting {
	host, port := c.advertised()
	listener := c.protocol() + "://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
	node := strconv.Itoa(int(b.cfg.NodeID))
	settings := []brokerSetting{
		text("advertised.listeners", listener, "The address that this client is told."),
		boolean("auto.create.topics.enable", !b.cfg.DisableAutoCreate, "Whether a topic is made when a client asks about it."),
		number("broker.id", int64(b.cfg.NodeID), "The id of this node."),
		number("connections.max.idle.ms", b.cfg.Limits.IdleTimeout.Milliseconds(), "How long a connection may be silent."),
		fixed(number("default.replication.factor", 1, "Replicas of a topic: this broker is one node.")),
		fixed(boolean("delete.topic.enable", true, "Whether topics can be deleted.")),
		number("fetch.max.bytes", largestFetch, "Most bytes of records in one answer to a fetch."),
		number("group.initial.rebalance.delay.ms", b.cfg.Group.InitialRebalanceDelay.Milliseconds(), "How long the first members of a consumer group wait for more."),
		number("group.max.session.timeout.ms", b.cfg.Group.MaxSessionTimeout.Milliseconds(), "Longest session timeout of a member."),
		number("group.max.size", int64(b.cfg.Group.MaxSize), "Most members of one consumer group."),
		number("group.min.session.timeout.ms", b.cfg.Group.MinSessionTimeout.Milliseconds(), "Shortest session timeout of a member."),
		text("log.dirs", b.cfg.FS.Root(), "The data directory."),
		number("max.connections", int64(b.cfg.MaxConnections), "Most connections."),
		number("max.connections.per.ip", int64(b.cfg.MaxConnectionsPerIP), "Most connections of one client address."),
		text("millrace.durability", durabilityName(b.cfg.Log.Durability), "What acks=all means for topics that do not choose by flush.messages or flush.ms: fsync waits for stable storage, os for the page cache."),
		text("node.id", node, "The id of this node."),
		number("num.partitions", int64(b.cfg.DefaultPartitions), "Partitions of a topic whose creator does not say."),
		number("offsets.topic.num.partitions", int64(b.cfg.OffsetsPartitions), "Partitions of the offsets topic, decided when it is made."),
		number("offsets.retention.minutes", int64(b.cfg.Group.OffsetsRetention/time.Minute), "How long the offsets of a group outlive its last member."),
		fixed(text("process.roles", "broker,controller", "What this node does.")),
		number("socket.request.max.bytes", int64(b.cfg.Limits.MaxFrameBytes), "Longest request."),
	}
	return append(settings, topicDefaults()...)
}

// topicDefaults are what topics get that do not choose, under the broker-wide names.
func topicDefaults() []brokerSetting {
	var settings []brokerSetting
	for _, s := range topicSettings {
		if s.synonym != "" {
			settings = append(settings, fixed(brokerSetting{name: s.synonym, kind: s.kind, value: s.fallback, doc: s.doc}))
		}
	}
	return settings
}

func durabilityName(d log.Durability) string {
	if d == log.OS {
		return "os"
	}
	return "fsync"
}

func text(name, value, doc string) brokerSetting {
	return brokerSetting{name: name, kind: kmsg.ConfigTypeString, value: value, doc: doc}
}

func number(name string, value int64, doc string) brokerSetting {
	return brokerSetting{name: name, kind: kmsg.ConfigTypeLong, value: strconv.FormatInt(value, 10), doc: doc}
}

func boolean(name string, value bool, doc string) brokerSetting {
	return brokerSetting{name: name, kind: kmsg.ConfigTypeBoolean, value: strconv.FormatBool(value), doc: doc}
}

func fixed(s brokerSetting) brokerSetting {
	s.fixed = true
	return s
}
