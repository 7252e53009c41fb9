package group

import (
	"slices"
	"time"
)

// JoinRequest asks to be a member of the next generation.
type JoinRequest struct {
	Token                Token
	MemberID             string // empty: the client has none yet
	InstanceID           string // empty: a dynamic member
	ClientID, ClientHost string
	SessionTimeout       time.Duration
	RebalanceTimeout     time.Duration // 0: the session timeout, as for JoinGroup 0
	ProtocolType         string
	Protocols            []Protocol // in the order of preference
	Reason               string     // the client's own words, for the log

	// NewMemberID is the id to give when the client has none. It must be unique.
	NewMemberID string
	// RequireMemberID makes a new dynamic member come back with the id that it
	// was given, so that a client that gave up leaves no dead member behind. Set
	// from JoinGroup 4 on (KIP-394).
	RequireMemberID bool
	// CanSkipAssignment is set from JoinGroup 9 on (KIP-814).
	CanSkipAssignment bool
}

// Join takes a request to join. The answer comes now, or when the join phase ends.
func (g *Group) Join(now time.Time, r JoinRequest) Effects {
	g.begin(now)
	r.Protocols = distinct(r.Protocols)
	if r.RebalanceTimeout <= 0 {
		r.RebalanceTimeout = r.SessionTimeout
	}
	if err := g.admit(r); err != nil {
		g.refuseJoin(r.Token, r.MemberID, err)
	} else if r.MemberID == "" {
		g.joinNew(r)
	} else {
		g.joinKnown(r)
	}
	return g.end()
}

// distinct drops protocols that are offered again under the same name: they
// would count twice in the vote.
func distinct(protocols []Protocol) []Protocol {
	seen := make(map[string]bool, len(protocols))
	return slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

// admit refuses what cannot become a member whatever the rest of the group does.
func (g *Group) admit(r JoinRequest) error {
	if g.state == Dead {
		return ErrDead
	}
	if r.SessionTimeout < g.cfg.MinSessionTimeout || r.SessionTimeout > g.cfg.MaxSessionTimeout {
		return ErrSessionTimeout
	}
	if g.full(r) {
		return ErrGroupFull
	}
	if !g.supports(r) {
		return ErrInconsistentProtocol
	}
	return nil
}

// full reports whether the newcomer does not fit. Unlike Kafka, ids that were
// given out count: else they would have no bound.
func (g *Group) full(r JoinRequest) bool {
	_, known := g.pending[r.MemberID]
	known = known || g.incumbent(r) != nil
	return !known && len(g.members)+len(g.pending) >= g.cfg.MaxSize || g.sizes+g.Growth(r) > g.cfg.MaxBytes
}

// Growth is about how many bytes more the group holds after the join.
func (g *Group) Growth(r JoinRequest) int {
	m := g.incumbent(r)
	if m == nil {
		return g.memberOf(r, r.NewMemberID).sizeBytes()
	}
	after := *m
	after.protocols = r.Protocols
	return after.sizeBytes() - m.sizeBytes()
}

// incumbent is the member that the request updates or replaces, if any.
func (g *Group) incumbent(r JoinRequest) *member {
	if r.MemberID == "" && r.InstanceID != "" {
		return g.static[r.InstanceID]
	}
	return g.byID[r.MemberID]
}

// supports reports whether the group can go on with the member in it: it must
// offer at least one protocol that all present members offer, too.
func (g *Group) supports(r JoinRequest) bool {
	if g.state == Empty {
		return r.ProtocolType != "" && len(r.Protocols) > 0
	}
	return r.ProtocolType == g.protocolType &&
		slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return g.supportedByAll(p.Name) })
}

func (g *Group) supportedByAll(protocol string) bool {
	return g.support[protocol] == len(g.members)
}

func (g *Group) joinNew(r JoinRequest) {
	switch old := g.static[r.InstanceID]; {
	case r.InstanceID != "" && old != nil:
		g.replaceStatic(old, r)
	case r.InstanceID != "" || !r.RequireMemberID:
		g.addMember(r, r.NewMemberID)
	default:
		until := g.now.Add(r.SessionTimeout)
		g.pending[r.NewMemberID] = until
		g.wakeAt(until)
		g.refuseJoin(r.Token, r.NewMemberID, ErrMemberIDRequired)
	}
}

func (g *Group) joinKnown(r JoinRequest) {
	if _, waiting := g.pending[r.MemberID]; waiting && r.InstanceID == "" {
		g.addMember(r, r.MemberID)
		return
	}
	m, err := g.find(r.MemberID, r.InstanceID)
	if err != nil {
		g.refuseJoin(r.Token, r.MemberID, err)
		return
	}
	switch {
	case g.state == PreparingRebalance:
		g.updateMember(m, r, "member joined again")
	case !m.offersSame(r.Protocols):
		g.updateMember(m, r, "member changed what it offers")
	case g.state == Stable && m.id == g.leader:
		// The leader may know of more to share, such as new partitions.
		g.updateMember(m, r, "leader joined again")
	default:
		// Its answer was lost: the same generation again.
		g.keepAlive(m)
		g.out.Joins = append(g.out.Joins, g.joinAnswer(r.Token, m))
	}
}

func (g *Group) memberOf(r JoinRequest, id string) *member {
	return &member{
		id:               id,
		instanceID:       r.InstanceID,
		clientID:         r.ClientID,
		clientHost:       r.ClientHost,
		sessionTimeout:   r.SessionTimeout,
		rebalanceTimeout: r.RebalanceTimeout,
		protocols:        r.Protocols,
	}
}

// addMember adds a member that has no id of its own to send heartbeats with
// until it is answered: so it stays for a while without them.
func (g *Group) addMember(r JoinRequest, id string) {
	m := g.memberOf(r, id)
	m.fresh = true
	g.newcomer = true
	g.add(m, r.ProtocolType)
	g.parkJoin(m, r.Token)
	g.expireAt(m, g.now.Add(g.cfg.NewMemberTimeout))
	g.rebalanceOrComplete(because("new member", r))
}

func (g *Group) updateMember(m *member, r JoinRequest, why string) {
	g.count(m, -1)
	m.protocols, m.sessionTimeout, m.rebalanceTimeout = r.Protocols, r.SessionTimeout, r.RebalanceTimeout
	g.count(m, 1)
	g.parkJoin(m, r.Token)
	g.rebalanceOrComplete(because(why, r))
}

// because is the reason of a join phase for the log.
func because(why string, r JoinRequest) string {
	if r.Reason == "" {
		return why
	}
	return why + ": " + r.Reason
}
