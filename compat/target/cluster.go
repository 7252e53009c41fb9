package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Cluster is several Kafka brokers that are one cluster: every topic has a copy
// on each, and a write is acknowledged by all but one at least.
type Cluster struct {
	Brokers []*Broker
	dir     string
}

// StartCluster starts n Kafka brokers and returns when each of them listens.
func StartCluster(ctx context.Context, n int) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "millrace-compat-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	var voters []string
	for id := 1; id <= n; id++ {
		addr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		voters = append(voters, fmt.Sprintf("%d@%s", id, addr))
	}
	replicas := fmt.Sprint(n)
	for id := 1; id <= n; id++ {
		_, controller, _ := strings.Cut(voters[id-1], "@")
		b := &Broker{Kind: Kafka, Dir: filepath.Join(dir, fmt.Sprint(id))}
		b.DataDir = filepath.Join(b.Dir, "data")
		if err := os.MkdirAll(b.Dir, 0o755); err != nil {
			return nil, err
		}
		if b.Addr, err = FreeAddr(); err != nil {
			return nil, err
		}
		// Of a property that stands twice the last one counts.
		b.options.Properties = []string{
			fmt.Sprint("node.id=", id), "controller.quorum.voters=" + strings.Join(voters, ","),
			"listeners=PLAINTEXT://" + b.Addr + ",CONTROLLER://" + controller,
			"default.replication.factor=" + replicas, "min.insync.replicas=" + fmt.Sprint(n-1),
			"offsets.topic.replication.factor=" + replicas, "transaction.state.log.replication.factor=" + replicas,
			"transaction.state.log.min.isr=" + fmt.Sprint(n-1),
			"broker.session.timeout.ms=4000", "broker.heartbeat.interval.ms=1000",
		}
		c.Brokers = append(c.Brokers, b)
	}
	// Each waits for the others.
	var starting sync.WaitGroup
	failed := make([]error, n)
	for i, b := range c.Brokers {
		starting.Go(func() {
			if failed[i] = b.prepareKafka(); failed[i] == nil {
				failed[i] = b.Start(ctx)
			}
		})
	}
	starting.Wait()
	if err := errors.Join(failed...); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Addrs are the addresses of all brokers, as clients want them.
func (c *Cluster) Addrs() string {
	var all []string
	for _, b := range c.Brokers {
		all = append(all, b.Addr)
	}
	return strings.Join(all, ",")
}

// Close ends all brokers and removes what they stored.
func (c *Cluster) Close() {
	for _, b := range c.Brokers {
		b.Close()
	}
	os.RemoveAll(c.dir)
}
