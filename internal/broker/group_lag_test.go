package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/group"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// The lag of a group: in records, and in the age of the first unread one, also
// when that is in the middle of a batch.
func TestGroupLag(t *testing.T) {
	reg := prometheus.NewRegistry()
	now := time.Now()
	n := serve(t, broker.Config{
		FS: crashfs.New(), Registerer: reg, Now: func() time.Time { return now },
		Group: group.Config{InitialRebalanceDelay: -1},
	})
	m := outside(t, n, "g")
	m.createTopic("t", 2)
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.Gzip})
	for age := 10; age > 0; age-- { // offset 0 is ten seconds old, offset 9 one
		b.Append(record.TimestampOf(now.Add(-time.Duration(age)*time.Second)), nil, []byte("value"), nil)
	}
	raw, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if r := m.produce(-1, "t", 0, raw); r.ErrorCode != 0 {
		t.Fatalf("produce: code %d", r.ErrorCode)
	}
	for _, c := range []struct {
		committed    int64
		lag, seconds float64
	}{{0, 10, 10}, {7, 3, 3}, {7, 3, 3}, {10, 0, 0}, {12, 0, 0}} {
		m.mustCommit("t", c.committed, 0)
		got := gather(t, reg)
		if lag, age := got[`millrace_group_lag_records{g,0,t}`], got[`millrace_group_lag_seconds{g,0,t}`]; lag != c.lag || age < c.seconds-0.01 || age > c.seconds+0.01 {
			t.Errorf("committed %d: %v records, %v seconds; want %v and %v", c.committed, lag, age, c.lag, c.seconds)
		}
		if lag, there := got[`millrace_group_lag_records{g,1,t}`]; !there || lag != 0 {
			t.Errorf("the empty partition: %v, %v", lag, there)
		}
	}
	if got := gather(t, reg); got["millrace_groups{}"] != 1 || got["millrace_group_lag_left_out{}"] != 0 {
		t.Errorf("%v", got)
	}
}

// gather is every series by name and label values.
func gather(t testing.TB, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.Metric {
			var values []string
			for _, l := range metric.Label {
				values = append(values, l.GetValue())
			}
			name := f.GetName() + "{" + strings.Join(values, ",") + "}"
			all[name] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return all
}

// Beyond the bound the groups with the last names have no series, and are counted.
func TestLagSeriesAreBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := serve(t, broker.Config{FS: crashfs.New(), Registerer: reg})
	dial(t, n.addr).createTopic("t", 1500)
	for i := range 8 {
		m := outside(t, n, fmt.Sprintf("g%d", i))
		m.mustCommit("t", make([]int64, 1500)...)
	}
	series := 0
	got := gather(t, reg)
	for name := range got {
		if strings.HasPrefix(name, "millrace_group_lag_records{") {
			series++
		}
	}
	if series != 9000 || got["millrace_group_lag_left_out{}"] != 3000 {
		t.Errorf("%d series, %v left out", series, got["millrace_group_lag_left_out{}"])
	}
}

// A request that waits for others does not hold the broker up when it stops, nor
// the group when its connection breaks.
func TestParkedRequests(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	a, b, c := newMember(t, n, "g"), newMember(t, n, "g"), newMember(t, n, "g")
	a.createTopic("t", 1)
	a.start()
	b.id = call[*kmsg.JoinGroupResponse](b.rawConn, 9, b.joinRequest()).MemberID
	b.send(9, b.joinRequest()) // waits for a
	for a.heartbeat(4) != 27 { // until the request has come: REBALANCE_IN_PROGRESS
	}
	_ = b.Close()
	if r := a.join(9); r.ErrorCode != 0 || len(r.Members) != 2 {
		t.Fatalf("join: %+v", r)
	}
	c.id = call[*kmsg.JoinGroupResponse](c.rawConn, 9, c.joinRequest()).MemberID
	waiting := c.send(9, c.joinRequest())
	for a.heartbeat(4) != 27 {
	}
	n.stop(t)
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.SetVersion(9)
	c.receive(waiting, resp)
	if resp.ErrorCode != 15 {
		t.Errorf("the parked join: code %d, want COORDINATOR_NOT_AVAILABLE", resp.ErrorCode)
	}
}
