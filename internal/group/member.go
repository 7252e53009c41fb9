package group

import (
	"bytes"
	"slices"
	"time"
)

// Protocol is one way of sharing work that a member offers: for a consumer, an
// assignor's name and the member's subscription. The bytes belong to the group
// once they were handed in and are never changed.
type Protocol struct {
	Name     string
	Metadata []byte
}

// member is one member of the group. At most one join and one sync of it are
// parked, because a newer one answers the older.
type member struct {
	id, instanceID       string // instanceID: empty for a dynamic member
	clientID, clientHost string
	sessionTimeout       time.Duration
	rebalanceTimeout     time.Duration
	protocols            []Protocol // in the order of the member's preference
	assignment           []byte     // of the current generation; nil until it is stable

	join, sync Token     // parked requests; zero: none
	fresh      bool      // has not had an answer to a join yet
	unsynced   bool      // has not sent a sync in this generation
	deadline   time.Time // removed then; zero while a parked request keeps it alive
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// vote is the member's favourite among the candidates.
func (m *member) vote(candidate func(string) bool) string {
	for _, p := range m.protocols {
		if candidate(p.Name) {
			return p.Name
		}
	}
	return ""
}

// offersSame reports whether the member offered exactly these protocols before.
func (m *member) offersSame(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (m *member) sizeBytes() int {
	size := len(m.id) + len(m.instanceID) + len(m.clientID) + len(m.clientHost) + len(m.assignment)
	for _, p := range m.protocols {
		size += len(p.Name) + len(p.Metadata)
	}
	return size
}

// add makes m a member. The first member of an empty group sets its protocol
// type and is its leader.
func (g *Group) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	delete(g.pending, m.id)
	g.members = append(g.members, m)
	g.enter(m)
}

// remove takes m out and answers what it has parked with err.
func (g *Group) remove(m *member, err error) {
	g.refuseParked(m, err)
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	g.leave(m)
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// replace puts successor in the place of m, and m's parked requests learn that
// they are fenced.
func (g *Group) replace(m, successor *member) {
	g.refuseParked(m, ErrFenced)
	g.members[slices.Index(g.members, m)] = successor
	g.leave(m)
	g.enter(successor)
	if g.leader == m.id {
		g.leader = successor.id
	}
}

func (g *Group) enter(m *member) {
	g.byID[m.id] = m
	if m.instanceID != "" {
		g.static[m.instanceID] = m
	}
	g.count(m, 1)
}

func (g *Group) leave(m *member) {
	delete(g.byID, m.id)
	if m.instanceID != "" {
		delete(g.static, m.instanceID)
	}
	g.count(m, -1)
}

// count keeps the sums over all members; by is 1 or -1.
func (g *Group) count(m *member, by int) {
	g.sizes += by * m.sizeBytes()
	for _, p := range m.protocols {
		if g.support[p.Name] += by; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

func (g *Group) setAssignment(m *member, b []byte) {
	g.sizes += len(b) - len(m.assignment)
	m.assignment = b
}

// find is the member that a request names, or why it is not one.
func (g *Group) find(memberID, instanceID string) (*member, error) {
	if instanceID != "" {
		switch m := g.static[instanceID]; {
		case m == nil:
			return nil, ErrUnknownMember
		case m.id != memberID:
			return nil, ErrFenced
		}
	}
	m := g.byID[memberID]
	if m == nil {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// keepAlive starts m's session anew.
func (g *Group) keepAlive(m *member) { g.expireAt(m, g.now.Add(m.sessionTimeout)) }

func (g *Group) expireAt(m *member, at time.Time) {
	m.deadline = at
	g.wakeAt(at)
}

// wakeAt makes sure that [Group.Next] is not later than at.
func (g *Group) wakeAt(at time.Time) {
	if g.next.IsZero() || at.Before(g.next) {
		g.next = at
	}
}
