package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

// leavesByList is the first LeaveGroup version that names several members, also
// by instance id.
const leavesByList = 3

// leaveGroup removes members. The answer waits until a group that became empty
// is stored as that: the time of its offsets counts from there.
func (g *groups) leaveGroup(_ *conn, req *kmsg.LeaveGroupRequest) reply {
	leavers := leaversOf(req)
	errs, w := g.leave(req.Group, leavers)
	return func(context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		if req.Group == "" {
			resp.ErrorCode = groupCodeOf(errNoGroupID)
			return resp, nil
		}
		if err := w.wait(g.b); err != nil {
			resp.ErrorCode = groupCodeOf(err)
			return resp, nil
		}
		if req.Version < leavesByList {
			resp.ErrorCode = groupCodeOf(errs[0])
			return resp, nil
		}
		for i, m := range req.Members {
			r := kmsg.NewLeaveGroupResponseMember()
			r.MemberID, r.InstanceID, r.ErrorCode = m.MemberID, m.InstanceID, groupCodeOf(errs[i])
			resp.Members = append(resp.Members, r)
		}
		return resp, nil
	}
}

func leaversOf(req *kmsg.LeaveGroupRequest) []group.Leaver {
	if req.Version < leavesByList {
		return []group.Leaver{{MemberID: req.MemberID}}
	}
	leavers := make([]group.Leaver, len(req.Members))
	for i, m := range req.Members {
		leavers[i] = group.Leaver{MemberID: m.MemberID, InstanceID: orEmpty(m.InstanceID)}
	}
	return leavers
}

func (g *groups) leave(groupID string, leavers []group.Leaver) ([]error, written) {
	lg := g.lockGroup(groupID)
	if lg == nil {
		errs := make([]error, len(leavers))
		failAll(errs, group.ErrUnknownMember)
		return errs, written{}
	}
	defer lg.unlock()
	errs, effects := lg.mu.group.Leave(time.Now(), leavers)
	lg.carryOut(effects)
	return errs, lg.mu.written
}
