package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

// syncGroup asks for a member's assignment, or brings them all. The reply waits
// until the leader has brought them and they are durable.
func (g *groups) syncGroup(_ *conn, req *kmsg.SyncGroupRequest) reply {
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	answered, err := g.sync(req)
	if err != nil {
		resp.ErrorCode = groupCodeOf(err)
		return answer(resp)
	}
	return func(ctx context.Context) (response, error) {
		a, err := g.awaitAnswer(ctx, answered)
		if err == nil {
			err = a.sync.Err
		}
		if err != nil {
			resp.ErrorCode = groupCodeOf(err)
			return resp, nil
		}
		resp.ProtocolType, resp.Protocol, resp.MemberAssignment = &a.sync.ProtocolType, &a.sync.Protocol, a.sync.Assignment
		return resp, nil
	}
}

func (g *groups) sync(req *kmsg.SyncGroupRequest) (<-chan groupAnswer, error) {
	if req.Group == "" {
		return nil, errNoGroupID
	}
	lg := g.lockGroup(req.Group)
	if lg == nil {
		return nil, group.ErrUnknownMember
	}
	defer lg.unlock()
	token, answered := lg.park()
	r := group.SyncRequest{
		Token:        token,
		MemberID:     req.MemberID,
		InstanceID:   orEmpty(req.InstanceID),
		Generation:   req.Generation,
		ProtocolType: orEmpty(req.ProtocolType),
		Protocol:     orEmpty(req.Protocol),
	}
	for _, a := range req.GroupAssignment {
		r.Assignments = append(r.Assignments, group.Assignment{MemberID: a.MemberID, Bytes: a.MemberAssignment})
	}
	lg.carryOut(lg.mu.group.Sync(time.Now(), r))
	return answered, nil
}
