package group

import "time"

// SyncRequest asks for the member's assignment; the leader's brings them all.
type SyncRequest struct {
	Token                Token
	MemberID, InstanceID string
	Generation           int32
	// ProtocolType and Protocol are what the client believes was chosen; empty
	// before SyncGroup 5, which does not say.
	ProtocolType, Protocol string
	Assignments            []Assignment
}

// Assignment is the work of one member, in the protocol's own bytes.
type Assignment struct {
	MemberID string
	Bytes    []byte
}

// Sync takes a request for the assignment. The answer comes when the leader has
// given it and it is stored.
func (g *Group) Sync(now time.Time, r SyncRequest) Effects {
	g.begin(now)
	m, err := g.checkSync(r)
	if err != nil {
		g.out.Syncs = append(g.out.Syncs, SyncAnswer{Token: r.Token, Err: err})
		return g.end()
	}
	g.synced(m)
	g.parkSync(m, r.Token)
	switch {
	case g.state == Stable:
		g.answerSync(m, nil)
		g.keepAlive(m)
	case m.id == g.leader:
		g.assign(r.Assignments)
	}
	return g.end()
}

func (g *Group) checkSync(r SyncRequest) (*member, error) {
	m, err := g.current(r.MemberID, r.InstanceID, r.Generation)
	switch {
	case err != nil:
		return nil, err
	case differs(r.ProtocolType, g.protocolType), differs(r.Protocol, g.protocol):
		return nil, ErrInconsistentProtocol
	case g.state == PreparingRebalance:
		return nil, ErrRebalancing
	}
	return m, nil
}

func differs(said, is string) bool { return said != "" && is != "" && said != is }

// current is the member that a request of the current generation names.
func (g *Group) current(memberID, instanceID string, generation int32) (*member, error) {
	if g.state == Dead {
		return nil, ErrDead
	}
	m, err := g.find(memberID, instanceID)
	if err != nil {
		return nil, err
	}
	if generation != g.generation {
		return nil, ErrGeneration
	}
	return m, nil
}

// synced notes that m asked for its assignment; the wait ends with the last.
func (g *Group) synced(m *member) {
	m.unsynced = false
	for _, other := range g.members {
		if other.unsynced {
			return
		}
	}
	g.syncBy = noDeadline
}

// assign stores the leader's assignment and then gives it to everybody. A
// member that the leader left out has an empty one.
func (g *Group) assign(assignments []Assignment) {
	given := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		given[a.MemberID] = a.Bytes
	}
	if g.sizeWith(given) > g.cfg.MaxBytes {
		g.assignmentFailed(ErrTooLarge)
		return
	}
	record := g.snapshot(g.members)
	for i := range record.Members {
		record.Members[i].Assignment = given[record.Members[i].ID]
	}
	g.store(record, func(err error) {
		if err != nil {
			g.assignmentFailed(err)
			return
		}
		g.become(Stable)
		g.giveAssignments(given)
	})
}

func (g *Group) sizeWith(given map[string][]byte) int {
	size := g.sizes
	for _, m := range g.members {
		size += len(given[m.id]) - len(m.assignment)
	}
	return size
}

func (g *Group) giveAssignments(given map[string][]byte) {
	for _, m := range g.members {
		g.setAssignment(m, given[m.id])
		if m.sync != 0 {
			g.answerSync(m, nil)
			g.keepAlive(m)
		}
	}
}

// assignmentFailed tells all who wait, and lets the group try again.
func (g *Group) assignmentFailed(err error) {
	g.dropAssignments(err)
	g.prepareRebalance("the assignment could not be stored: " + err.Error())
}
