package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator's key types.
const (
	groupCoordinator = 0
	txnCoordinator   = 1
)

// coordinatorsByList is the first FindCoordinator version that asks for several.
const coordinatorsByList = 4

// findCoordinator names this node for every group and transactional id. Clients
// ask before anything else about them, so this makes the offsets topic or the
// transaction topic, durably, at first use.
func (g *groups) findCoordinator(c *conn, req *kmsg.FindCoordinatorRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		keys := req.CoordinatorKeys
		if req.Version < coordinatorsByList {
			keys = []string{req.CoordinatorKey}
		}
		err := g.mayCoordinate(req.CoordinatorType)
		for _, key := range keys {
			resp.Coordinators = append(resp.Coordinators, g.coordinatorFor(c, key, err))
		}
		if req.Version < coordinatorsByList {
			one := resp.Coordinators[0]
			resp.NodeID, resp.Host, resp.Port = one.NodeID, one.Host, one.Port
			resp.ErrorCode, resp.ErrorMessage = one.ErrorCode, one.ErrorMessage
		}
		return resp
	})
}

func (g *groups) mayCoordinate(kind int8) error {
	var err error
	switch kind {
	case groupCoordinator:
		err = g.createTopic()
	case txnCoordinator:
		err = g.b.txns.createTopic()
	default:
		return refused(kerr.InvalidRequest, fmt.Sprintf("key type %d: this broker coordinates consumer groups (0) and transactions (1)", kind))
	}
	if err != nil {
		return refusedBy(kerr.CoordinatorNotAvailable, err)
	}
	return nil
}

func (g *groups) coordinatorFor(c *conn, key string, err error) kmsg.FindCoordinatorResponseCoordinator {
	one := kmsg.NewFindCoordinatorResponseCoordinator()
	one.Key, one.NodeID, one.Port = key, -1, -1
	if err != nil {
		one.ErrorCode, one.ErrorMessage = groupCodeOf(err), textOf(err)
		return one
	}
	one.NodeID = g.b.cfg.NodeID
	one.Host, one.Port = c.advertised()
	return one
}
