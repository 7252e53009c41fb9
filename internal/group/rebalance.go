package group

import (
	"fmt"
	"slices"
	"time"
)

// noDeadline is that of a member whom a parked request keeps alive.
var noDeadline time.Time

// rebalanceOrComplete begins a join phase, or ends the one that runs if nobody
// is missing any more.
func (g *Group) rebalanceOrComplete(why string) {
	if g.state == PreparingRebalance {
		g.maybeCompleteJoin()
		return
	}
	g.prepareRebalance(why)
}

// prepareRebalance begins a join phase. Who waits for an assignment of the
// generation that now ends must join again.
func (g *Group) prepareRebalance(why string) {
	if g.state == CompletingRebalance {
		g.dropAssignments(ErrRebalancing)
	}
	g.clearSyncs()
	g.initial = g.state == Empty
	g.become(PreparingRebalance)
	g.out.Changed = why
	if g.initial {
		g.waitForNewcomers()
		return
	}
	g.waitForJoins(g.rebalanceTimeout())
	g.maybeCompleteJoin()
}

// waitForNewcomers starts the initial delay (KIP-134).
func (g *Group) waitForNewcomers() {
	delay := max(g.cfg.InitialRebalanceDelay, 0)
	g.newcomer = false
	g.extendBy = max(g.rebalanceTimeout()-delay, 0)
	if delay == 0 {
		g.completeJoin()
		return
	}
	g.waitForJoins(delay)
}

// joinDue ends the join phase, or extends the initial delay when somebody came
// during it.
func (g *Group) joinDue() {
	if !g.initial || !g.newcomer || g.extendBy == 0 {
		g.completeJoin()
		return
	}
	delay := min(g.cfg.InitialRebalanceDelay, g.extendBy)
	g.extendBy -= delay
	g.newcomer = false
	g.waitForJoins(delay)
}

func (g *Group) waitForJoins(d time.Duration) {
	g.joinBy = g.now.Add(d)
	g.wakeAt(g.joinBy)
}

// maybeCompleteJoin ends the join phase when everybody is here. The first one
// of a group lasts its delay in any case.
func (g *Group) maybeCompleteJoin() {
	if g.state == PreparingRebalance && !g.initial && g.joining == len(g.members) && len(g.pending) == 0 {
		g.completeJoin()
	}
}

// completeJoin makes the next generation out of those who have joined. A static
// member that has not is kept: it may be restarting.
func (g *Group) completeJoin() {
	g.joinBy = noDeadline
	g.removeAll(func(m *member) bool { return m.join == 0 && m.instanceID == "" }, ErrUnknownMember)
	if len(g.members) > 0 && !g.electLeader() {
		// Static members only, all away: their sessions end this.
		g.waitForJoins(g.rebalanceTimeout())
		return
	}
	g.generation++
	if len(g.members) == 0 {
		g.becomeEmpty()
		return
	}
	g.protocol = selectProtocol(g.members)
	g.topics = g.subscribedTopics()
	g.become(CompletingRebalance)
	g.out.Changed = fmt.Sprintf("generation %d with %d members", g.generation, len(g.members))
	g.answerJoins()
}

func (g *Group) becomeEmpty() {
	g.protocol = ""
	g.topics = map[string]bool{}
	g.become(Empty)
	g.out.Changed = "the last member has gone"
	// When this record is lost, the members of an earlier one come back after a
	// restart and expire: so a failure changes nothing here.
	g.store(g.snapshot(g.members), func(error) {})
}

// electLeader makes sure that the leader has joined this generation, and
// reports whether anybody has.
func (g *Group) electLeader() bool {
	if m := g.byID[g.leader]; m != nil && m.join != 0 {
		return true
	}
	for _, m := range g.members {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

func (g *Group) answerJoins() {
	g.syncBy = g.now.Add(g.rebalanceTimeout())
	g.wakeAt(g.syncBy)
	for _, m := range g.members {
		m.unsynced = true
		m.fresh = false
		g.setAssignment(m, nil)
		g.keepAlive(m)
		if m.join != 0 {
			g.out.Joins = append(g.out.Joins, g.joinAnswer(g.unparkJoin(m), m))
		}
	}
}

// selectProtocol is the protocol with the most votes among those that all
// members offer. Of equals, the one that the earlier member prefers wins; Kafka
// leaves that open.
func selectProtocol(members []*member) string {
	offered := map[string]int{}
	for _, m := range members {
		for _, p := range m.protocols {
			offered[p.Name]++
		}
	}
	byAll := func(protocol string) bool { return offered[protocol] == len(members) }
	votes := map[string]int{}
	for _, m := range members {
		votes[m.vote(byAll)]++
	}
	chosen := members[0].vote(byAll)
	for _, m := range members {
		if p := m.vote(byAll); votes[p] > votes[chosen] {
			chosen = p
		}
	}
	return chosen
}

// rebalanceTimeout is the longest that a member asked for.
func (g *Group) rebalanceTimeout() time.Duration {
	var longest time.Duration
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// dropAssignments answers all parked syncs with err.
func (g *Group) dropAssignments(err error) {
	for _, m := range g.members {
		g.setAssignment(m, nil)
		if m.sync != 0 {
			g.answerSync(m, err)
			g.keepAlive(m)
		}
	}
}

func (g *Group) clearSyncs() {
	g.syncBy = noDeadline
	for _, m := range g.members {
		m.unsynced = false
	}
}

// removeAll removes the members that match and reports how many did.
func (g *Group) removeAll(match func(*member) bool, err error) (removed int) {
	for _, m := range slices.Clone(g.members) {
		if match(m) {
			g.remove(m, err)
			removed++
		}
	}
	return removed
}
