package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var errNoSuchGroup = refused(kerr.GroupIDNotFound, "the group does not exist")

// deleteGroups removes empty groups with their offsets.
func (g *groups) deleteGroups(_ *conn, req *kmsg.DeleteGroupsRequest) reply {
	deletions := make([]deletion, len(req.Groups))
	for i, id := range req.Groups {
		deletions[i].written, deletions[i].err = g.delete(id)
	}
	return func(context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
		for i, id := range req.Groups {
			err := deletions[i].err
			if err == nil {
				err = deletions[i].written.wait(g.b)
			}
			r := kmsg.NewDeleteGroupsResponseGroup()
			r.Group, r.ErrorCode = id, groupCodeOf(err)
			resp.Groups = append(resp.Groups, r)
		}
		return resp, nil
	}
}

// deletion is what became of one group.
type deletion struct {
	written written
	err     error
}

func (g *groups) delete(id string) (written, error) {
	lg := g.lockGroup(id)
	if lg == nil {
		return written{}, errNoSuchGroup
	}
	defer lg.unlock()
	if err := lg.mu.group.CheckDelete(); err != nil {
		return written{}, err
	}
	err := lg.erase()
	return lg.mu.written, err
}

// erase writes the tombstones of all that the group has, and drops it.
func (lg *liveGroup) erase() error {
	records := []offsetsRecord{{key: groupKey(lg.id)}}
	for _, tp := range lg.mu.group.Positions() {
		records = append(records, offsetsRecord{key: offsetKey(lg.id, tp)})
	}
	if _, err := lg.append(records); err != nil {
		return err
	}
	lg.drop()
	return nil
}
