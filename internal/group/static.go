package group

import "slices"

// replaceStatic lets a process that was started again take the place of the
// one before it (KIP-345). The old one is fenced. A stable group goes on with
// the same assignment when the change does not matter to the others.
func (g *Group) replaceStatic(old *member, r JoinRequest) {
	m := g.memberOf(r, r.NewMemberID)
	m.assignment = old.assignment
	if g.state == Stable && !g.changesGeneration(old, m) {
		g.takeOver(old, m, r)
		return
	}
	// While work is being assigned this restarts the phase, even if nothing else
	// changed: the leader may be assigning to the old member id at this moment.
	g.replace(old, m)
	g.parkJoin(m, r.Token)
	g.rebalanceOrComplete(because("static member came back", r))
}

// changesGeneration reports whether the group would choose another protocol
// with m in place of old, or has to share other topics. Kafka compares only the
// protocol, so that a static member restarted with more topics never gets them.
func (g *Group) changesGeneration(old, m *member) bool {
	return selectProtocol(g.membersWith(old, m)) != g.protocol ||
		g.usesConsumerProtocol() && !sameTopics(old.metadata(g.protocol), m.metadata(g.protocol))
}

// membersWith is the members with m in the place of old.
func (g *Group) membersWith(old, m *member) []*member {
	all := slices.Clone(g.members)
	all[slices.Index(all, old)] = m
	return all
}

// takeOver makes m the member as soon as its new id is stored.
func (g *Group) takeOver(old, m *member, r JoinRequest) {
	formerLeader := g.leader
	record := g.snapshot(g.membersWith(old, m))
	if record.Leader == old.id {
		record.Leader = m.id
	}
	g.store(record, func(err error) {
		if err != nil {
			g.refuseJoin(r.Token, "", err)
			return
		}
		g.replace(old, m)
		g.keepAlive(m)
		a := g.joinAnswer(r.Token, m)
		if r.CanSkipAssignment {
			a.SkipAssignment = m.id == g.leader
		} else {
			// Such a client would assign again if it heard that it leads.
			a.Leader, a.Members = formerLeader, nil
		}
		g.out.Joins = append(g.out.Joins, a)
	})
}
