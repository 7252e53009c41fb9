package group

import (
	"time"

	"millrace/record"
)

// Snapshot is what a restart must find again: the content of Kafka's
// GroupMetadataValue.
type Snapshot struct {
	Generation   int32
	ProtocolType string
	Protocol     string // empty: none
	Leader       string // empty: none
	Since        record.Timestamp
	Members      []MemberSnapshot
}

// MemberSnapshot is one member within a [Snapshot].
type MemberSnapshot struct {
	ID, InstanceID       string // InstanceID: empty for a dynamic member
	ClientID, ClientHost string
	SessionTimeout       time.Duration
	RebalanceTimeout     time.Duration
	Subscription         []byte // the member's metadata for the chosen protocol
	Assignment           []byte
}

// Snapshot is the group as it stands, without offsets.
func (g *Group) Snapshot() Snapshot { return g.snapshot(g.members) }

func (g *Group) snapshot(members []*member) Snapshot {
	s := Snapshot{
		Generation:   g.generation,
		ProtocolType: g.protocolType,
		Protocol:     g.protocol,
		Leader:       g.leader,
		Since:        g.sinceMs,
		Members:      make([]MemberSnapshot, len(members)),
	}
	for i, m := range members {
		s.Members[i] = MemberSnapshot{
			ID:               m.id,
			InstanceID:       m.instanceID,
			ClientID:         m.clientID,
			ClientHost:       m.clientHost,
			SessionTimeout:   m.sessionTimeout,
			RebalanceTimeout: m.rebalanceTimeout,
			Subscription:     m.metadata(g.protocol),
			Assignment:       m.assignment,
		}
	}
	return s
}

// Restore replaces members and generation by those of s, as they were stored;
// offsets stay. Every session starts anew at now. A snapshot that our own rules
// could not have made (a record of a foreign or damaged origin) is taken as far
// as it makes sense: members without an id or twice the same are left out.
func (g *Group) Restore(now time.Time, s Snapshot) {
	offsets, staged, sizes, wall := g.offsets, g.staged, g.offsetSizes, g.wall
	*g = *New(g.id, g.cfg, now)
	g.now, g.wall = now, wall
	g.offsets, g.staged, g.offsetSizes = offsets, staged, sizes
	g.sinceMs = s.Since
	g.generation, g.protocolType, g.protocol = s.Generation, s.ProtocolType, s.Protocol
	for _, m := range s.Members {
		g.restoreMember(m)
	}
	if len(g.members) == 0 {
		g.protocol, g.topics = "", map[string]bool{}
		return
	}
	g.state = Stable
	if g.byID[s.Leader] != nil {
		g.leader = s.Leader
	}
	g.topics = g.subscribedTopics()
}

func (g *Group) restoreMember(s MemberSnapshot) {
	if s.ID == "" || g.byID[s.ID] != nil || s.InstanceID != "" && g.static[s.InstanceID] != nil {
		return
	}
	m := &member{
		id:               s.ID,
		instanceID:       s.InstanceID,
		clientID:         s.ClientID,
		clientHost:       s.ClientHost,
		sessionTimeout:   s.SessionTimeout,
		rebalanceTimeout: s.RebalanceTimeout,
		protocols:        []Protocol{{Name: g.protocol, Metadata: s.Subscription}},
		assignment:       s.Assignment,
	}
	if m.rebalanceTimeout < 0 {
		m.rebalanceTimeout = m.sessionTimeout
	}
	g.add(m, g.protocolType)
	g.keepAlive(m)
}
