package group

import (
	"maps"
	"time"
)

// Heartbeat keeps the member's session alive, and tells it by [ErrRebalancing]
// when it must join again.
func (g *Group) Heartbeat(now time.Time, memberID, instanceID string, generation int32) error {
	g.begin(now)
	m, err := g.current(memberID, instanceID, generation)
	if err != nil {
		return err
	}
	g.touch(m)
	if g.state == PreparingRebalance {
		return ErrRebalancing
	}
	return nil
}

// touch starts the session anew, unless a parked request keeps it alive anyway.
func (g *Group) touch(m *member) {
	if m.join == 0 && m.sync == 0 {
		g.keepAlive(m)
	}
}

// Leaver names one member that leaves. An instance id without a member id is an
// administrator's removal of a static member.
type Leaver struct {
	MemberID, InstanceID string
}

// Leave removes members; errs has the answer for each of them in turn.
func (g *Group) Leave(now time.Time, leavers []Leaver) (errs []error, effects Effects) {
	g.begin(now)
	errs = make([]error, len(leavers))
	before := len(g.members)
	for i, l := range leavers {
		errs[i] = g.leaveOne(l)
	}
	g.goOn(before-len(g.members), "member left")
	return errs, g.end()
}

func (g *Group) leaveOne(l Leaver) error {
	if g.state == Dead {
		return ErrDead
	}
	if _, waiting := g.pending[l.MemberID]; waiting {
		delete(g.pending, l.MemberID)
		return nil
	}
	m, err := g.find(l.MemberID, l.InstanceID)
	if static := g.static[l.InstanceID]; l.MemberID == "" && static != nil {
		m, err = static, nil
	}
	if err == nil {
		g.remove(m, ErrUnknownMember)
	}
	return err
}

// goOn lets the group continue without the members that have just been removed.
// With none removed, only an id that will not come any more may end a phase.
func (g *Group) goOn(removed int, why string) {
	switch {
	case g.state == PreparingRebalance:
		g.maybeCompleteJoin()
	case removed > 0 && (g.state == Stable || g.state == CompletingRebalance):
		g.prepareRebalance(why)
	}
}

// Expire removes the members whose sessions have ended and ends the phases
// whose time is up. Call it when [Group.Next] has come.
func (g *Group) Expire(now time.Time) Effects {
	g.begin(now)
	g.expireSessions()
	if g.due(g.joinBy) {
		g.joinDue()
	}
	if g.due(g.syncBy) {
		g.syncDue()
	}
	g.next = g.earliest()
	return g.end()
}

func (g *Group) due(at time.Time) bool { return !at.IsZero() && !at.After(g.now) }

func (g *Group) expireSessions() {
	maps.DeleteFunc(g.pending, func(_ string, until time.Time) bool { return g.due(until) })
	expired := g.removeAll(func(m *member) bool { return g.due(m.deadline) }, ErrUnknownMember)
	g.goOn(expired, "session expired")
}

// syncDue removes those who joined the generation and never asked for their work.
func (g *Group) syncDue() {
	g.syncBy = noDeadline
	if g.removeAll(func(m *member) bool { return m.unsynced }, ErrUnknownMember) > 0 {
		g.prepareRebalance("members did not sync in time")
	}
}

func (g *Group) earliest() time.Time {
	g.next = noDeadline
	deadlines := []time.Time{g.joinBy, g.syncBy}
	for _, m := range g.members {
		deadlines = append(deadlines, m.deadline)
	}
	for _, until := range g.pending {
		deadlines = append(deadlines, until)
	}
	for _, at := range deadlines {
		if !at.IsZero() {
			g.wakeAt(at)
		}
	}
	return g.next
}

// Resume starts all sessions anew, as after a restart: the owner calls it when
// it was held up itself (a stopped process, a stalled disk), because then no
// member could have been heard.
func (g *Group) Resume(now time.Time) {
	g.begin(now)
	for _, m := range g.members {
		if !m.deadline.IsZero() && !m.fresh {
			g.keepAlive(m)
		}
	}
}
