package broker_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/group"
	"millrace/internal/vfs"
)

// serveGroups is serve with sessions as short as a test wants them.
func serveGroups(t testing.TB, fsys vfs.FS) *node {
	t.Helper()
	return serve(t, broker.Config{
		FS: fsys, DefaultPartitions: 4,
		Group: group.Config{MinSessionTimeout: time.Millisecond, InitialRebalanceDelay: -1},
	})
}

// member is one member of a group, request by request.
type member struct {
	*rawConn
	group      string
	id         string
	instance   *string
	generation int32
	topics     []string
	session    time.Duration
}

func newMember(t testing.TB, n *node, groupID string) *member {
	t.Helper()
	return &member{rawConn: dial(t, n.addr), group: groupID, topics: []string{"t"}, session: time.Minute}
}

// reconnect lets the member go on over a new connection, as after a restart of
// the broker.
func (m *member) reconnect(n *node) *member {
	m.t.Helper()
	again := *m
	again.rawConn = dial(m.t, n.addr)
	return &again
}

func (m *member) joinRequest() *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = m.group, m.id, m.instance, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), 60_000
	subscription := kmsg.NewConsumerMemberMetadata()
	subscription.Topics = m.topics
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", subscription.AppendTo(nil)
	req.Protocols = append(req.Protocols, protocol)
	return req
}

// join joins at the version, twice if the broker first gives out an id, and
// keeps what the answer says.
func (m *member) join(version int16) *kmsg.JoinGroupResponse {
	m.t.Helper()
	resp := call[*kmsg.JoinGroupResponse](m.rawConn, version, m.joinRequest())
	if resp.ErrorCode == 79 { // MEMBER_ID_REQUIRED
		m.id = resp.MemberID
		resp = call[*kmsg.JoinGroupResponse](m.rawConn, version, m.joinRequest())
	}
	if resp.ErrorCode == 0 {
		m.id, m.generation = resp.MemberID, resp.Generation
	}
	return resp
}

func (m *member) syncRequest(work map[string]string) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.group, m.id, m.instance, m.generation
	for id, bytes := range work {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = id, []byte(bytes)
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	return req
}

// sync asks for the assignment; the leader brings the work.
func (m *member) sync(version int16, work map[string]string) *kmsg.SyncGroupResponse {
	m.t.Helper()
	return call[*kmsg.SyncGroupResponse](m.rawConn, version, m.syncRequest(work))
}

// start joins and syncs as the only member.
func (m *member) start() *member {
	m.t.Helper()
	if r := m.join(9); r.ErrorCode != 0 {
		m.t.Fatalf("join: code %d", r.ErrorCode)
	}
	if r := m.sync(5, map[string]string{m.id: "all"}); r.ErrorCode != 0 || string(r.MemberAssignment) != "all" {
		m.t.Fatalf("sync: code %d, %q", r.ErrorCode, r.MemberAssignment)
	}
	return m
}

func (m *member) heartbeat(version int16) int16 {
	m.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.group, m.id, m.instance, m.generation
	return call[*kmsg.HeartbeatResponse](m.rawConn, version, req).ErrorCode
}

func (m *member) leave(version int16) int16 {
	m.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = m.group, m.id
	leaver := kmsg.NewLeaveGroupRequestMember()
	leaver.MemberID, leaver.InstanceID = m.id, m.instance
	req.Members = append(req.Members, leaver)
	resp := call[*kmsg.LeaveGroupResponse](m.rawConn, version, req)
	if version >= 3 && resp.ErrorCode == 0 {
		return resp.Members[0].ErrorCode
	}
	return resp.ErrorCode
}

// commitRequest commits one offset for each partition from 0 on.
func (m *member) commitRequest(topic string, offsets ...int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.group, m.id, m.instance, m.generation
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = topic
	for p, offset := range offsets {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = int32(p), offset, 7, kmsg.StringPtr("by test")
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// commit returns the code of each partition.
func (m *member) commit(version int16, topic string, offsets ...int64) (codes []int16) {
	m.t.Helper()
	resp := call[*kmsg.OffsetCommitResponse](m.rawConn, version, m.commitRequest(topic, offsets...))
	for _, p := range resp.Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	return codes
}

func (m *member) mustCommit(topic string, offsets ...int64) {
	m.t.Helper()
	for p, code := range m.commit(8, topic, offsets...) {
		if code != 0 {
			m.t.Fatalf("commit of %s-%d in %s: code %d", topic, p, m.group, code)
		}
	}
}

// committed is the group's offset in topic-0, or minus the error code.
func (m *member) committed(topic string) int64 {
	m.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	rg := kmsg.NewOffsetFetchRequestGroup()
	rg.Group = m.group
	rt := kmsg.NewOffsetFetchRequestGroupTopic()
	rt.Topic, rt.Partitions = topic, []int32{0}
	rg.Topics = append(rg.Topics, rt)
	req.Groups = append(req.Groups, rg)
	got := call[*kmsg.OffsetFetchResponse](m.rawConn, 9, req).Groups[0]
	p := got.Topics[0].Partitions[0]
	if code := max(got.ErrorCode, p.ErrorCode); code != 0 {
		return -int64(code)
	}
	return p.Offset
}

// outside is a client that commits without being a member.
func outside(t testing.TB, n *node, groupID string) *member {
	t.Helper()
	m := newMember(t, n, groupID)
	m.generation = -1
	return m
}

// describe is the group as DescribeGroups shows it.
func (c *rawConn) describeGroup(groupID string) kmsg.DescribeGroupsResponseGroup {
	c.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{groupID}
	return call[*kmsg.DescribeGroupsResponse](c, 5, req).Groups[0]
}
