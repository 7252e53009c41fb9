package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// groups is the edge of the consumer groups: it owns their state machines and
// __consumer_offsets. The rest of the broker knows it by what is in this file.
type groups struct{}

// openGroups reads the groups of the data directory. The catalog is open.
func openGroups(*Broker) (*groups, error) { return &groups{}, nil }

// handlers are the request kinds that groups answer.
func (g *groups) handlers() map[kmsg.Key]handler { return nil }

// topicDeleted forgets the offsets of a topic that is gone.
func (g *groups) topicDeleted(record.Topic) {}

// close stops the timers of the groups. No handler and no reply runs any more.
func (g *groups) close() error { return nil }
