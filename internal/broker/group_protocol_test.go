package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/vfs/crashfs"
)

// Every served version of every group request, from join to leave: what the
// encoder of that version leaves out or adds must not matter.
func TestGroupRequestsAtEveryVersion(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	dial(t, n.addr).createTopic("t", 2)
	for v := range int16(10) {
		t.Run(fmt.Sprintf("JoinGroup %d", v), func(t *testing.T) {
			m := newMember(t, n, fmt.Sprintf("versions-%d", v))
			m.join(v)
			if r := m.sync(min(v, 5), map[string]string{m.id: "work"}); r.ErrorCode != 0 || string(r.MemberAssignment) != "work" {
				t.Fatalf("sync: code %d, %q", r.ErrorCode, r.MemberAssignment)
			}
			if code := m.heartbeat(min(v, 4)); code != 0 {
				t.Errorf("heartbeat: code %d", code)
			}
			if codes := m.commit(max(v, 2), "t", 5, 6, 7); !slices.Equal(codes, []int16{0, 0, 3}) {
				t.Errorf("commit: codes %v; the topic has two partitions", codes)
			}
			if code := m.leave(min(v, 5)); code != 0 {
				t.Errorf("leave: code %d", code)
			}
			if code := m.heartbeat(min(v, 4)); code != 25 {
				t.Errorf("heartbeat after leaving: code %d, want UNKNOWN_MEMBER_ID", code)
			}
			fetchAtVersion(t, m, max(v, 1))
		})
	}
}

// fetchAtVersion asks for two partitions, and from version 2 on for all.
func fetchAtVersion(t *testing.T, m *member, version int16) {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = m.group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 5}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: m.group, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 5}}}}}
	check := func(req *kmsg.OffsetFetchRequest, want string) {
		t.Helper()
		if got := fetched(call[*kmsg.OffsetFetchResponse](m.rawConn, version, req)); got != want {
			t.Errorf("OffsetFetch %d: %s, want %s", version, got, want)
		}
	}
	check(req, "t-0=5 t-5=-1 ")
	if version >= 2 {
		req.Topics, req.Groups[0].Topics = nil, nil
		check(req, "t-0=5 t-1=6 ")
	}
	req.Group, req.Groups[0].Group = "nobody", "nobody"
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{1}}}
	req.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{1}}}
	check(req, "t-1=-1 ")
}

func fetched(resp *kmsg.OffsetFetchResponse) (text string) {
	line := func(topic string, partition int32, offset int64, code int16) {
		text += fmt.Sprintf("%s-%d=%d ", topic, partition, offset)
		if code != 0 {
			text += fmt.Sprintf("code %d ", code)
		}
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			line(topic.Topic, p.Partition, p.Offset, p.ErrorCode)
		}
	}
	for _, g := range resp.Groups {
		for _, topic := range g.Topics {
			for _, p := range topic.Partitions {
				line(topic.Topic, p.Partition, p.Offset, p.ErrorCode)
			}
		}
	}
	return text
}

// Requests that no group can take, and the codes for them.
func TestGroupRefusals(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	m := newMember(t, n, "g")
	m.createTopic("t", 1)
	for name, c := range map[string]struct {
		code int16
		do   func(m *member) int16
	}{
		"join without a group":            {24, func(m *member) int16 { m.group = ""; return m.join(5).ErrorCode }},
		"join a group that is not there":  {25, func(m *member) int16 { m.id = "me"; return m.join(5).ErrorCode }},
		"join with a session of 0 ms":     {26, func(m *member) int16 { m.session = 0; return m.join(5).ErrorCode }},
		"join with an empty instance id":  {42, func(m *member) int16 { m.instance = new(string); return m.join(5).ErrorCode }},
		"sync without a group":            {24, func(m *member) int16 { m.group = ""; return m.sync(3, nil).ErrorCode }},
		"sync of nobody":                  {25, func(m *member) int16 { return m.sync(3, nil).ErrorCode }},
		"heartbeat without a group":       {24, func(m *member) int16 { m.group = ""; return m.heartbeat(3) }},
		"heartbeat of nobody":             {25, func(m *member) int16 { return m.heartbeat(3) }},
		"leave without a group":           {24, func(m *member) int16 { m.group = ""; return m.leave(0) }},
		"leave of nobody":                 {25, func(m *member) int16 { return m.leave(0) }},
		"leave of nobody, by list":        {25, func(m *member) int16 { return m.leave(5) }},
		"commit of a member of nothing":   {22, func(m *member) int16 { return m.commit(8, "t", 1)[0] }},
		"the same at version 9":           {69, func(m *member) int16 { return m.commit(9, "t", 1)[0] }},
		"commit to a topic that is not":   {3, func(m *member) int16 { m.generation = -1; return m.commit(8, "unknown", 1)[0] }},
		"delete a group that is not":      {69, func(m *member) int16 { return m.deleteGroup() }},
		"delete offsets of such a group":  {69, func(m *member) int16 { return m.deleteOffsets("t").ErrorCode }},
		"delete offsets without a group":  {24, func(m *member) int16 { m.group = ""; return m.deleteOffsets("t").ErrorCode }},
		"coordinator of a transaction":    {0, func(m *member) int16 { return m.findCoordinator(1).ErrorCode }},
		"coordinator of a share group":    {42, func(m *member) int16 { return m.findCoordinator(2).ErrorCode }},
		"coordinator of a consumer group": {0, func(m *member) int16 { return m.findCoordinator(0).ErrorCode }},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.do(newMember(t, n, "g")); got != c.code {
				t.Errorf("code %d, want %d", got, c.code)
			}
		})
	}
	if d := m.describeGroup("g"); d.State != "Dead" {
		t.Errorf("a group that only refused requests is %s: it must not stay", d.State)
	}
	if held := n.GroupMemory(); held != 0 {
		t.Errorf("%d bytes are counted for no group", held)
	}
}

func (m *member) deleteGroup() int16 {
	m.t.Helper()
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = []string{m.group}
	return call[*kmsg.DeleteGroupsResponse](m.rawConn, 2, req).Groups[0].ErrorCode
}

func (m *member) deleteOffsets(topic string) *kmsg.OffsetDeleteResponse {
	m.t.Helper()
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = m.group
	req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
	return call[*kmsg.OffsetDeleteResponse](m.rawConn, 0, req)
}

func (m *member) findCoordinator(kind int8) kmsg.FindCoordinatorResponseCoordinator {
	m.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKeys = kind, []string{m.group}
	return call[*kmsg.FindCoordinatorResponse](m.rawConn, 4, req).Coordinators[0]
}

// W4: the coordinator is the address by which the client reached us, at every
// version; and asking makes the offsets topic.
func TestFindCoordinator(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	c := dial(t, n.addr)
	for v := range int16(5) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h"}
		resp := call[*kmsg.FindCoordinatorResponse](c, v, req)
		host, port, id, code := resp.Host, resp.Port, resp.NodeID, resp.ErrorCode
		if v >= 4 {
			one := resp.Coordinators[1]
			host, port, id, code = one.Host, one.Port, one.NodeID, one.ErrorCode
		}
		if fmt.Sprintf("%s:%d", host, port) != n.addr || id != 1 || code != 0 {
			t.Errorf("version %d: node %d at %s:%d, code %d", v, id, host, port, code)
		}
	}
	topics := call[*kmsg.MetadataResponse](c, 9, &kmsg.MetadataRequest{}).Topics
	if len(topics) != 1 || *topics[0].Topic != "__consumer_offsets" || !topics[0].IsInternal || len(topics[0].Partitions) != 4 {
		t.Errorf("topics: %+v", topics)
	}
}

func TestListAndDescribeGroups(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	m := newMember(t, n, "working")
	m.createTopic("t", 1)
	m.start()
	outside(t, n, "simple").mustCommit("t", 1)
	for _, c := range []struct {
		states []string
		want   string
	}{
		{nil, "simple=Empty working=Stable "},
		{[]string{"stable"}, "working=Stable "},
		{[]string{"Empty", "Dead"}, "simple=Empty "},
	} {
		req := kmsg.NewPtrListGroupsRequest()
		req.StatesFilter = c.states
		resp := call[*kmsg.ListGroupsResponse](m.rawConn, 4, req)
		slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return len(a.Group) - len(b.Group) })
		got := ""
		for _, g := range resp.Groups {
			got += g.Group + "=" + g.GroupState + " "
		}
		if got != c.want {
			t.Errorf("filter %v: %s, want %s", c.states, got, c.want)
		}
	}
	d := m.describeGroup("working")
	if d.State != "Stable" || d.ProtocolType != "consumer" || d.Protocol != "range" || len(d.Members) != 1 {
		t.Fatalf("%+v", d)
	}
	if got := d.Members[0]; got.ClientHost != "/127.0.0.1" || got.ClientID != "raw" || string(got.MemberAssignment) != "all" || len(got.ProtocolMetadata) == 0 {
		t.Errorf("%+v", got)
	}
}

// What a member brought is still the same when the memory of its requests has
// been used for others.
func TestGroupsKeepTheirOwnBytes(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	m := newMember(t, n, "first")
	m.createTopic("t", 1)
	m.join(5)
	m.sync(3, map[string]string{m.id: "its own work"})
	for i := range 20 {
		other := m.reconnect(n)
		other.group, other.id, other.topics = fmt.Sprintf("g%03d", i), "", []string{"u"}
		other.join(5)
		other.sync(3, map[string]string{other.id: "WORK-OF-SOME"})
	}
	subscription := kmsg.NewConsumerMemberMetadata()
	got := m.describeGroup("first").Members[0]
	if err := subscription.ReadFrom(got.ProtocolMetadata); err != nil || !slices.Equal(subscription.Topics, []string{"t"}) {
		t.Errorf("the subscription became %q, %v", got.ProtocolMetadata, err)
	}
	if string(got.MemberAssignment) != "its own work" {
		t.Errorf("the work became %q", got.MemberAssignment)
	}
}

// Deleting a group or an offset is for those that nobody uses.
func TestDeleteGroupsAndOffsets(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	m := newMember(t, n, "g")
	m.createTopic("t", 1)
	m.createTopic("other", 1)
	m.start()
	m.mustCommit("t", 3)
	m.mustCommit("other", 4)
	if code := m.deleteGroup(); code != 68 {
		t.Errorf("delete a group with members: code %d, want NON_EMPTY_GROUP", code)
	}
	if code := m.deleteOffsets("t").Topics[0].Partitions[0].ErrorCode; code != 86 {
		t.Errorf("delete an offset in use: code %d, want GROUP_SUBSCRIBED_TO_TOPIC", code)
	}
	if code := m.deleteOffsets("unknown").Topics[0].Partitions[0].ErrorCode; code != 3 {
		t.Errorf("delete an offset of no topic: code %d", code)
	}
	if r := m.deleteOffsets("other"); r.ErrorCode != 0 || r.Topics[0].Partitions[0].ErrorCode != 0 || m.committed("other") != -1 || m.committed("t") != 3 {
		t.Errorf("delete an offset: %+v, then %d and %d", r, m.committed("other"), m.committed("t"))
	}
	if code := m.leave(5); code != 0 {
		t.Fatalf("leave: code %d", code)
	}
	if code := m.deleteGroup(); code != 0 || m.committed("t") != -1 {
		t.Errorf("delete an empty group: code %d, then offset %d", code, m.committed("t"))
	}
	if d := m.describeGroup("g"); d.State != "Dead" {
		t.Errorf("the deleted group is %s", d.State)
	}
}
