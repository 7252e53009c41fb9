package broker

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/log"
)

// setting is one topic configuration under Kafka's name.
type setting struct {
	name     string
	kind     kmsg.ConfigType
	fallback string // the default, as Kafka writes it
	synonym  string // the broker-wide name in Kafka; empty when it has none
	doc      string

	// check says in a user's words why value is refused. It is called for every
	// value that differs from the fallback.
	check func(value string) error

	// apply carries a checked value into the log's terms; nil where the setting
	// has only one value.
	apply func(cfg *log.Config, value string)
}

// topicSettings is every topic configuration that Kafka 4 knows, by name. What
// this broker does not implement keeps its default and refuses anything else:
// a setting that is accepted has its effect.
var topicSettings = []setting{
	{name: "cleanup.policy", kind: kmsg.ConfigTypeList, fallback: "delete", synonym: "log.cleanup.policy",
		doc:   "What happens to old records: delete removes segments by retention time and size, compact keeps the newest record of each key, compact,delete does both.",
		check: checkCleanupPolicy, apply: func(cfg *log.Config, v string) { cfg.Cleanup = cleanupPolicy(v) }},
	only("compression.gzip.level", kmsg.ConfigTypeInt, "-1", "compression.gzip.level", "Level used when the broker compresses with gzip.", keepsBytes),
	only("compression.lz4.level", kmsg.ConfigTypeInt, "9", "compression.lz4.level", "Level used when the broker compresses with lz4.", keepsBytes),
	only("compression.type", kmsg.ConfigTypeString, "producer", "compression.type", "Codec of stored batches: producer keeps the one that they arrived with.", keepsBytes),
	only("compression.zstd.level", kmsg.ConfigTypeInt, "3", "compression.zstd.level", "Level used when the broker compresses with zstd.", keepsBytes),
	{name: "delete.retention.ms", kind: kmsg.ConfigTypeLong, fallback: "86400000", synonym: "log.cleaner.delete.retention.ms",
		doc:   "How long a compacted topic keeps tombstones and transaction markers after they were first compacted.",
		check: longAtLeast(0), apply: func(cfg *log.Config, v string) { cfg.DeleteRetentionMs = long(v) }},
	only("file.delete.delay.ms", kmsg.ConfigTypeLong, "60000", "log.segment.delete.delay.ms", "Delay before the files of a removed segment are deleted.", "removed segments are deleted at once in the background"),
	{name: "flush.messages", kind: kmsg.ConfigTypeLong, fallback: "9223372036854775807", synonym: "log.flush.interval.messages",
		doc:   "Number of records after which the log is synced. 1 syncs before every acknowledgement. At the default the durability of the server holds.",
		check: longAtLeast(1), apply: func(cfg *log.Config, v string) { cfg.FlushMessages = long(v) }},
	{name: "flush.ms", kind: kmsg.ConfigTypeLong, fallback: "9223372036854775807", synonym: "log.flush.interval.ms",
		doc:   "Longest time that a record stays unsynced. At the default the durability of the server holds.",
		check: longAtLeast(0), apply: func(cfg *log.Config, v string) { cfg.FlushMs = long(v) }},
	only("follower.replication.throttled.replicas", kmsg.ConfigTypeList, "", "", "Replicas whose replication is throttled on the follower's side.", oneReplica),
	{name: "index.interval.bytes", kind: kmsg.ConfigTypeInt, fallback: "4096", synonym: "log.index.interval.bytes",
		doc:   "Bytes of log per index entry.",
		check: intWithin(64, math.MaxInt32), apply: func(cfg *log.Config, v string) { cfg.IndexIntervalBytes = int32(long(v)) }},
	only("leader.replication.throttled.replicas", kmsg.ConfigTypeList, "", "", "Replicas whose replication is throttled on the leader's side.", oneReplica),
	only("local.retention.bytes", kmsg.ConfigTypeLong, "-2", "log.local.retention.bytes", "Bytes kept locally under tiered storage.", noTiers),
	only("local.retention.ms", kmsg.ConfigTypeLong, "-2", "log.local.retention.ms", "Time for which records are kept locally under tiered storage.", noTiers),
	{name: "max.compaction.lag.ms", kind: kmsg.ConfigTypeLong, fallback: "9223372036854775807", synonym: "log.cleaner.max.compaction.lag.ms",
		doc:   "Longest time that a record of a compacted topic stays uncompacted, whatever min.cleanable.dirty.ratio says.",
		check: longAtLeast(1), apply: func(cfg *log.Config, v string) { cfg.MaxCompactionLagMs = long(v) }},
	{name: "max.message.bytes", kind: kmsg.ConfigTypeInt, fallback: "1048588", synonym: "message.max.bytes",
		doc:   "Largest record batch, as it arrives, in bytes.",
		check: intWithin(0, largestBatchBytes), apply: func(cfg *log.Config, v string) { cfg.MaxMessageBytes = int32(long(v)) }},
	{name: "message.timestamp.after.max.ms", kind: kmsg.ConfigTypeLong, fallback: "3600000", synonym: "log.message.timestamp.after.max.ms",
		doc:   "How far a record's timestamp may lie ahead of the broker's clock.",
		check: longAtLeast(0), apply: func(cfg *log.Config, v string) { cfg.TimestampAfterMaxMs = long(v) }},
	{name: "message.timestamp.before.max.ms", kind: kmsg.ConfigTypeLong, fallback: "9223372036854775807", synonym: "log.message.timestamp.before.max.ms",
		doc:   "How far a record's timestamp may lie behind the broker's clock.",
		check: longAtLeast(0), apply: func(cfg *log.Config, v string) { cfg.TimestampBeforeMaxMs = long(v) }},
	{name: "message.timestamp.type", kind: kmsg.ConfigTypeString, fallback: "CreateTime", synonym: "log.message.timestamp.type",
		doc:   "Whose time a record carries: CreateTime of the producer or LogAppendTime of the broker.",
		check: oneOf("CreateTime", "LogAppendTime"), apply: func(cfg *log.Config, v string) { cfg.LogAppendTime = v == "LogAppendTime" }},
	{name: "min.cleanable.dirty.ratio", kind: kmsg.ConfigTypeDouble, fallback: "0.5", synonym: "log.cleaner.min.cleanable.ratio",
		doc:   "Share of uncompacted bytes from which on a log is compacted, of those that may be.",
		check: checkRatio, apply: func(cfg *log.Config, v string) { cfg.MinCleanableDirtyRatio, _ = strconv.ParseFloat(v, 64) }},
	{name: "min.compaction.lag.ms", kind: kmsg.ConfigTypeLong, fallback: "0", synonym: "log.cleaner.min.compaction.lag.ms",
		doc:   "Shortest time that a record stays uncompacted.",
		check: longAtLeast(0), apply: func(cfg *log.Config, v string) { cfg.MinCompactionLagMs = long(v) }},
	only("min.insync.replicas", kmsg.ConfigTypeInt, "1", "min.insync.replicas", "Replicas that must have a record before acks=all is answered.", oneReplica),
	only("preallocate", kmsg.ConfigTypeBoolean, "false", "log.preallocate", "Whether the file of a new segment is made at its full size.", "the log decides this by itself"),
	only("remote.log.copy.disable", kmsg.ConfigTypeBoolean, "false", "", "Whether a tiered topic stops copying.", noTiers),
	only("remote.log.delete.on.disable", kmsg.ConfigTypeBoolean, "false", "", "Whether disabling tiered storage deletes what was copied.", noTiers),
	only("remote.storage.enable", kmsg.ConfigTypeBoolean, "false", "", "Whether tiered storage is on for the topic.", noTiers),
	{name: "retention.bytes", kind: kmsg.ConfigTypeLong, fallback: "-1", synonym: "log.retention.bytes",
		doc:   "Size of a partition above which its oldest segments are deleted; -1 is no limit.",
		check: longAtLeast(-1), apply: func(cfg *log.Config, v string) { cfg.RetentionBytes = long(v) }},
	{name: "retention.ms", kind: kmsg.ConfigTypeLong, fallback: "604800000", synonym: "log.retention.ms",
		doc:   "Age above which segments are deleted; -1 is no limit.",
		check: longAtLeast(-1), apply: func(cfg *log.Config, v string) { cfg.RetentionMs = long(v) }},
	{name: "segment.bytes", kind: kmsg.ConfigTypeInt, fallback: "268435456", synonym: "log.segment.bytes",
		doc:   "Size at which a segment is closed and the next one begun.",
		check: intWithin(1024, math.MaxInt32), apply: func(cfg *log.Config, v string) { cfg.SegmentBytes = long(v) }},
	only("segment.index.bytes", kmsg.ConfigTypeInt, "10485760", "log.index.size.max.bytes", "Largest size of an index file.", "indexes grow with their segment"),
	only("segment.jitter.ms", kmsg.ConfigTypeLong, "0", "log.roll.jitter.ms", "Random part subtracted from segment.ms.", "segments close exactly at segment.ms"),
	{name: "segment.ms", kind: kmsg.ConfigTypeLong, fallback: "604800000", synonym: "log.roll.ms",
		doc:   "Age at which a segment is closed even when it is not full.",
		check: longAtLeast(1), apply: func(cfg *log.Config, v string) { cfg.SegmentMs = long(v) }},
	only("unclean.leader.election.enable", kmsg.ConfigTypeBoolean, "false", "unclean.leader.election.enable", "Whether a replica that lacks records may become leader.", oneReplica),
}

// largestBatchBytes leaves room for the rest of a Produce frame of 16 MiB.
const largestBatchBytes = 16<<20 - 64<<10

// Why a setting has only one value.
const (
	keepsBytes = "the broker stores batches exactly as they arrive"
	oneReplica = "this broker is one node, and a topic has one replica"
	noTiers    = "there is no tiered storage"
)

// only is a setting of which nothing but Kafka's default is true here.
func only(name string, kind kmsg.ConfigType, fallback, synonym, doc, because string) setting {
	refuse := func(string) error { return fmt.Errorf("only %q is supported: %s", fallback, because) }
	return setting{name: name, kind: kind, fallback: fallback, synonym: synonym, doc: doc, check: refuse, apply: keep}
}

func keep(*log.Config, string) {}

// checkCleanupPolicy takes Kafka's list of policies, in any order.
func checkCleanupPolicy(value string) error {
	for policy := range strings.SplitSeq(value, ",") {
		if policy = strings.TrimSpace(policy); policy != "compact" && policy != "delete" {
			return errors.New("use delete, compact, or compact,delete")
		}
	}
	return nil
}

// cleanupPolicy is the meaning of a value that check has passed.
func cleanupPolicy(value string) log.CleanupPolicy {
	compacts, deletes := strings.Contains(value, "compact"), strings.Contains(value, "delete")
	switch {
	case compacts && deletes:
		return log.CleanupCompactDelete
	case compacts:
		return log.CleanupCompact
	}
	return log.CleanupDelete
}

func checkRatio(value string) error {
	if ratio, err := strconv.ParseFloat(value, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
		return errors.New("use a number from 0 to 1")
	}
	return nil
}

func longAtLeast(low int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < low {
			return fmt.Errorf("use a whole number of at least %d", low)
		}
		return nil
	}
}

func intWithin(low, high int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < low || n > high {
			return fmt.Errorf("use a whole number from %d to %d", low, high)
		}
		return nil
	}
}

func oneOf(allowed ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("use one of %s", strings.Join(allowed, ", "))
		}
		return nil
	}
}

// long is the number in a value that check has passed.
func long(value string) int64 {
	n, _ := strconv.ParseInt(value, 10, 64)
	return n
}

func settingNamed(name string) (setting, bool) {
	at, found := slices.BinarySearchFunc(topicSettings, name, func(s setting, name string) int { return strings.Compare(s.name, name) })
	if !found {
		return setting{}, false
	}
	return topicSettings[at], true
}

// checkTopicSetting says why a topic may not have this value.
func checkTopicSetting(name, value string) error {
	s, known := settingNamed(name)
	switch {
	case !known:
		return fmt.Errorf("unknown topic config %s", name)
	case value == s.fallback:
		return nil
	}
	if err := s.check(value); err != nil {
		return fmt.Errorf("topic config %s=%s: %w", name, value, err)
	}
	return nil
}

// checkTopicSettings is checkTopicSetting of all of them: the first fault by name.
func checkTopicSettings(explicit map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(explicit)) {
		if err := checkTopicSetting(name, explicit[name]); err != nil {
			return err
		}
	}
	return nil
}

// effective is the setting's value for a topic with these explicit settings, and
// where it comes from.
func (s setting) effective(explicit map[string]string) (string, kmsg.ConfigSource) {
	if value, set := explicit[s.name]; set {
		return value, kmsg.ConfigSourceDynamicTopicConfig
	}
	return s.fallback, kmsg.ConfigSourceDefaultConfig
}

// logConfig is the log's configuration for a topic with these explicit settings.
func logConfig(explicit map[string]string) log.Config {
	var cfg log.Config
	for _, s := range topicSettings {
		value, _ := s.effective(explicit)
		s.apply(&cfg, value)
	}
	return cfg
}
