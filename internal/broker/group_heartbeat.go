package broker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

// heartbeat counts when it arrives, not when it is answered: also behind a reply
// that waits for the disk it keeps the member alive.
func (g *groups) heartbeat(_ *conn, req *kmsg.HeartbeatRequest) reply {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	resp.ErrorCode = groupCodeOf(g.beat(req))
	return answer(resp)
}

func (g *groups) beat(req *kmsg.HeartbeatRequest) error {
	if req.Group == "" {
		return errNoGroupID
	}
	lg := g.lockGroup(req.Group)
	if lg == nil {
		return group.ErrUnknownMember
	}
	defer lg.unlock()
	return lg.mu.group.Heartbeat(time.Now(), req.MemberID, orEmpty(req.InstanceID), req.Generation)
}
