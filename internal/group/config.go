package group

import (
	"cmp"
	"time"
)

// Config bounds what members may ask for. The zero value of a field means its
// default; [Config.WithDefaults] fills them in.
type Config struct {
	// MinSessionTimeout and MaxSessionTimeout bound a member's session timeout.
	// Outside of them a join is refused with [ErrSessionTimeout]. Kafka's
	// group.{min,max}.session.timeout.ms; defaults 6 s and 30 min.
	MinSessionTimeout, MaxSessionTimeout time.Duration

	// InitialRebalanceDelay is how long the first join phase of an empty group
	// waits for more members; each newcomer extends it, up to the rebalance
	// timeout. Kafka's group.initial.rebalance.delay.ms. Negative means none.
	//
	// The default is 100 ms, where Kafka has 3 s. Without a delay the first
	// member gets everything at once and the others wait until its next heartbeat
	// (3 s by default) tells it to join again: a second assignment, and work done
	// twice. Processes that one command starts arrive within some tens of
	// milliseconds of each other, so 100 ms, extended by each newcomer, puts
	// them into one generation, and nobody at a laptop notices it.
	InitialRebalanceDelay time.Duration

	// NewMemberTimeout ends the wait of a member that has never been answered:
	// its client may be gone and would ask again under another id. Default 5 min,
	// as in Kafka.
	NewMemberTimeout time.Duration

	// MaxSize is the most members of one group, ids given out included. At the
	// bound a new member is refused with [ErrGroupFull]. Kafka's group.max.size;
	// default 10,000, where Kafka has no bound.
	MaxSize int

	// MaxBytes is the most that the members of one group may hold in ids,
	// subscriptions and assignments together: it must fit into one record. At the
	// bound a join is refused with [ErrGroupFull] and an assignment with
	// [ErrTooLarge]. Default 8 MiB.
	MaxBytes int

	// MaxOffsetMetadata is the most bytes of text beside one committed offset.
	// Kafka's offset.metadata.max.bytes; default 4096.
	MaxOffsetMetadata int

	// OffsetsRetention is how long the offsets of a group outlive its last
	// member. Kafka's offsets.retention.minutes; default 7 days.
	OffsetsRetention time.Duration
}

// WithDefaults is c with every unset field at its default.
func (c Config) WithDefaults() Config {
	c.MinSessionTimeout = cmp.Or(c.MinSessionTimeout, 6*time.Second)
	c.MaxSessionTimeout = cmp.Or(c.MaxSessionTimeout, 30*time.Minute)
	c.InitialRebalanceDelay = cmp.Or(c.InitialRebalanceDelay, 100*time.Millisecond)
	c.NewMemberTimeout = cmp.Or(c.NewMemberTimeout, 5*time.Minute)
	c.MaxSize = cmp.Or(c.MaxSize, 10_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 8<<20)
	c.MaxOffsetMetadata = cmp.Or(c.MaxOffsetMetadata, 4096)
	c.OffsetsRetention = cmp.Or(c.OffsetsRetention, 7*24*time.Hour)
	return c
}
