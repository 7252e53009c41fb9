package group

// Effects is what one step asks of the group's owner.
//
// The order matters: first write Store and call [Group.Stored], whose Effects
// replace nothing but come after these; then deliver the answers. An answer
// that shows what a record holds must not leave before that record is durable.
type Effects struct {
	Store *Snapshot    // nil: nothing to write
	Joins []JoinAnswer // each answers one parked or present join
	Syncs []SyncAnswer

	// Changed says in words why a join phase began or a generation ended, for the
	// owner's log; empty when neither happened.
	Changed string
}

// JoinAnswer answers one JoinRequest.
type JoinAnswer struct {
	Token        Token
	Err          error
	MemberID     string // the id to use from now on; also set beside some errors
	Generation   int32  // -1 beside an error
	ProtocolType string
	Protocol     string
	Leader       string
	// Members is what the leader assigns work to; empty for the others.
	Members []MemberMetadata
	// SkipAssignment tells a leader that came back (KIP-814) that the generation
	// has its assignment already.
	SkipAssignment bool
}

// MemberMetadata is what the leader learns about one member.
type MemberMetadata struct {
	ID, InstanceID string
	Metadata       []byte
}

// SyncAnswer answers one SyncRequest.
type SyncAnswer struct {
	Token        Token
	Err          error
	ProtocolType string
	Protocol     string
	Assignment   []byte // empty when the leader gave the member nothing
}

func (g *Group) refuseJoin(t Token, memberID string, err error) {
	g.out.Joins = append(g.out.Joins, JoinAnswer{Token: t, Err: err, MemberID: memberID, Generation: -1})
}

// joinAnswer is the current generation as the answer to a join of m.
func (g *Group) joinAnswer(t Token, m *member) JoinAnswer {
	a := JoinAnswer{
		Token:        t,
		MemberID:     m.id,
		Generation:   g.generation,
		ProtocolType: g.protocolType,
		Protocol:     g.protocol,
		Leader:       g.leader,
	}
	if m.id == g.leader {
		a.Members = g.memberMetadata()
	}
	return a
}

func (g *Group) memberMetadata() []MemberMetadata {
	all := make([]MemberMetadata, len(g.members))
	for i, m := range g.members {
		all[i] = MemberMetadata{ID: m.id, InstanceID: m.instanceID, Metadata: m.metadata(g.protocol)}
	}
	return all
}

// parkJoin lets a join wait. An older one of the same member came over a
// connection that is gone, or the client has given it up.
func (g *Group) parkJoin(m *member, t Token) {
	if m.join != 0 {
		g.refuseJoin(m.join, m.id, ErrRebalancing)
		g.joining--
	}
	m.join = t
	g.joining++
	if !m.fresh {
		m.deadline = noDeadline
	}
}

func (g *Group) unparkJoin(m *member) Token {
	t := m.join
	m.join = 0
	g.joining--
	return t
}

// parkSync lets a sync wait for the assignment, as parkJoin does a join.
func (g *Group) parkSync(m *member, t Token) {
	if m.sync != 0 {
		g.answerSync(m, ErrRebalancing)
	}
	m.sync = t
	m.deadline = noDeadline
}

func (g *Group) answerSync(m *member, err error) {
	a := SyncAnswer{Token: m.sync, Err: err}
	if err == nil {
		a.ProtocolType, a.Protocol, a.Assignment = g.protocolType, g.protocol, m.assignment
	}
	m.sync = 0
	g.out.Syncs = append(g.out.Syncs, a)
}

func (g *Group) refuseParked(m *member, err error) {
	if m.join != 0 {
		memberID := m.id
		if err == ErrUnknownMember {
			memberID = "" // the client must not use it again
		}
		g.refuseJoin(g.unparkJoin(m), memberID, err)
	}
	if m.sync != 0 {
		g.answerSync(m, err)
	}
}
