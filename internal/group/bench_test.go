package group

import (
	"fmt"
	"testing"
	"time"
)

// stableGroup has n members, all synced.
func stableGroup(n int) (g *Group, now time.Time) {
	now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	g = New("g", Config{InitialRebalanceDelay: time.Second}.WithDefaults(), now)
	for i := range n {
		id := fmt.Sprintf("m-%d", i)
		g.Join(now, JoinRequest{
			Token: Token(i + 1), NewMemberID: id, SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
			ProtocolType: "consumer", Protocols: []Protocol{{Name: "range", Metadata: subscription("t")}},
		})
	}
	for g.State() == PreparingRebalance {
		now = g.Next()
		g.Expire(now)
	}
	g.Sync(now, SyncRequest{Token: 1, MemberID: "m-0", Generation: 1})
	g.Stored(now, nil)
	return g, now
}

func BenchmarkHeartbeat(b *testing.B) {
	b.ReportAllocs()
	g, now := stableGroup(1000)
	for b.Loop() {
		if err := g.Heartbeat(now, "m-500", "", 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckCommit(b *testing.B) {
	b.ReportAllocs()
	g, now := stableGroup(1000)
	for b.Loop() {
		if err := g.CheckCommit(now, "m-500", "", 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGeneration is a whole first generation of a group of 100.
func BenchmarkGeneration(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		stableGroup(100)
	}
}
